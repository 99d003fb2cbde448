"""Offers answered REST calls of deprecated versions to the samples."""

from collections.abc import Mapping, Sequence
from typing import Any

from inference.deprecations.samples import store as samples
from inference.engine.predict import Answer
from inference.rest import uploads
from inference.types import PredictRequest, PredictResult
from mlplatform.lib.errors import PlatformError
from tenants.authentication import Caller
from tenants.http.call import RestCall


def sample(
    call: RestCall,
    caller: Caller,
    api_version: str,
    request: PredictRequest,
    body: Mapping[str, Any],
    answer: Answer,
) -> None:
    """Offer an answered call to the samples of each deprecated version that it used; most calls use none."""
    for schedule, _ in samples.schedules_of(
        api_version, (request.model or caller.default_model,), tenant_id=caller.tenant_id
    ):
        samples.offer(
            schedule=schedule,
            caller=caller,
            api_version=api_version,
            model=request.model,
            body=uploads.json_ready(body),
            answer=answer,
            client=call.header("USER_AGENT"),
        )


def sample_batch(
    call: RestCall,
    caller: Caller,
    api_version: str,
    parsed: Sequence[PredictRequest | PlatformError],
    bodies: Sequence[Mapping[str, Any]],
    results: Sequence[PredictResult | PlatformError],
) -> None:
    """One request of the batch stands for it, as a call of its own."""
    if not samples.any_schedules(api_version):
        return
    answered = [
        (request, body, result)
        for request, body, result in zip(parsed, bodies, results, strict=True)
        if isinstance(request, PredictRequest) and isinstance(result, PredictResult)
    ]
    names = (request.model or caller.default_model for request, _, _ in answered)
    for schedule, index in samples.schedules_of(api_version, names, tenant_id=caller.tenant_id) if answered else ():
        request, body, result = answered[index]
        samples.offer(
            schedule=schedule,
            caller=caller,
            api_version=api_version,
            model=request.model,
            body=body,
            answer=Answer((result,), result.units, None),
            client=call.header("USER_AGENT"),
        )
