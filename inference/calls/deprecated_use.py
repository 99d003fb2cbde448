"""The deprecated model versions that a call of any face used: for the headers of its answer, and for samples of such calls."""

import base64
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from inference.deprecations.samples import store as samples
from inference.engine.predict import Answer
from inference.registry import names as model_names
from inference.registry import versions
from inference.types import FlatTensor, ImageFile, PredictRequest, PredictResult, TextPair
from mlplatform.lib.errors import PlatformError
from tenants.authentication import Caller
from tenants.deprecations import catalogue
from tenants.deprecations.rules import Deprecation, Ended

_SAID_AS: Final = "v2"
"""Samples of faces without API versions are kept as REST calls of this one, which guides and rehearsals can read."""


def deprecations_of(caller: Caller, wanted: Sequence[PredictRequest], *, call_id: str) -> tuple[Deprecation, ...]:
    """Deprecations of the model versions that a call pinned, where a refusal leaves no result that has them.

    Looked up anew, each once, in the order of the call.
    """
    found: dict[Deprecation, None] = {}
    for request in wanted:
        name = request.model or caller.default_model
        if "@" not in name or not caller.may_use(model_names.model_of(name)):
            continue
        try:
            deprecation = catalogue.judge_model_version(
                versions.subject_of(name, tenant_id=caller.tenant_id),
                tenant_id=caller.tenant_id,
                call_id=call_id,
                field=f"{request.path}model",
            )
        except Ended as error:
            deprecation = error.deprecation
        if deprecation is not None:
            found[deprecation] = None
    return tuple(found)


def deprecations_of_batch(
    caller: Caller, wanted: Sequence[PredictRequest], answer: Answer, *, call_id: str
) -> tuple[Deprecation, ...]:
    """Deprecations of the model versions that a batch pinned, answered or not."""
    results = [result for result in answer.results if not isinstance(result, PlatformError)]
    if len(results) < len(answer.results):
        return deprecations_of(caller, wanted, call_id=call_id)
    return tuple(dict.fromkeys(result.deprecation for result in results if result.deprecation is not None))


def sample(
    caller: Caller,
    wanted: Sequence[PredictRequest],
    results: Sequence[PredictResult | PlatformError],
    *,
    client: str,
) -> None:
    """Offer answered inputs to the samples of deprecated model versions; most calls use none."""
    if not samples.any_schedules(""):
        return
    answered = [
        (request, result) for request, result in zip(wanted, results, strict=True) if isinstance(result, PredictResult)
    ]
    names = (request.model or caller.default_model for request, _ in answered)
    for schedule, index in samples.schedules_of("", names, tenant_id=caller.tenant_id) if answered else ():
        request, result = answered[index]
        samples.offer(
            schedule=schedule,
            caller=caller,
            api_version=_SAID_AS,
            model=request.model,
            body=_as_rest(request, result, tenant_id=caller.tenant_id),
            answer=Answer((result,), result.units, None),
            client=client,
        )


def _as_rest(request: PredictRequest, result: PredictResult, *, tenant_id: int) -> dict[str, Any]:
    """The body of the REST call that asks the same."""
    value = request.input
    if isinstance(value, FlatTensor):
        ref = versions.resolve(f"{result.model}@{result.model_version}", tenant_id=tenant_id)
        value = value.values.reshape(ref.input_schema["shape"])
    if isinstance(value, np.ndarray):
        value = value.tolist()
    elif isinstance(value, ImageFile):
        value = {"image": base64.b64encode(value.data).decode()}
    elif isinstance(value, TextPair):
        value = {"text": value.text, "pair": value.pair}
    body: dict[str, Any] = {"input": value}
    if request.model:
        body["model"] = request.model
    parameters: dict[str, Any] = {} if request.top_k is None else {"top_k": request.top_k}
    if result.truncated is not None:
        parameters["truncate"] = True
    return body | ({"parameters": parameters} if parameters else {})
