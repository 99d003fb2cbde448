"""What a prediction call used that ends: for the headers of its answer, and for samples of what still calls it."""

from collections.abc import Mapping, Sequence
from typing import Any

from inference.calls import endings
from inference.deprecations.samples import store as samples
from inference.engine.predict import Answer
from inference.rest import uploads
from inference.types import PredictRequest, PredictResult
from mlplatform.lib.errors import PlatformError
from tenants.authentication import Caller
from tenants.deprecations.rules import Deprecation
from tenants.http.call import RestCall


def of_batch(
    call: RestCall, caller: Caller, wanted: Sequence[PredictRequest], answer: Answer
) -> tuple[Deprecation, ...]:
    """What ends of the model versions that a batch pinned, answered or not."""
    results = [result for result in answer.results if not isinstance(result, PlatformError)]
    if len(results) < len(answer.results):
        return endings.endings_of(caller, wanted, call_id=call.request_id)
    return tuple(dict.fromkeys(result.deprecation for result in results if result.deprecation is not None))


def sample(
    call: RestCall,
    caller: Caller,
    api_version: str,
    request: PredictRequest,
    body: Mapping[str, Any],
    answer: Answer,
) -> None:
    """Offer an answered call to the samples of everything that it used and that ends; most calls use nothing such."""
    for schedule, _ in samples.ending(
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
    if not samples.may_end(api_version):
        return
    answered = [
        (request, body, result)
        for request, body, result in zip(parsed, bodies, results, strict=True)
        if isinstance(request, PredictRequest) and isinstance(result, PredictResult)
    ]
    names = (request.model or caller.default_model for request, _, _ in answered)
    for schedule, index in samples.ending(api_version, names, tenant_id=caller.tenant_id) if answered else ():
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
