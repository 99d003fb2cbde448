"""What gRPC calls used that ends: for the metadata of their answers, and for samples of what still calls it."""

from collections.abc import Sequence
from typing import Any, Final

from inference import registry
from inference.grpc.calls import CallInfo
from inference.lifecycle import pinned as pinned_versions
from inference.lifecycle import samples
from inference.predict import Answer
from inference.types import FlatTensor, PredictRequest, PredictResult
from tenants.authentication import Caller
from tenants.lifecycle.rules import Deprecation

_SAID_AS: Final = "v2"
"""Samples are kept as REST calls of this API version, which guides and rehearsals can read; the content is the same."""


def pinned(info: CallInfo, caller: Caller, wanted: Sequence[PredictRequest]) -> tuple[Deprecation, ...]:
    """What ends of the model versions that a call pinned, answered or not."""
    return pinned_versions.endings_of(caller, wanted, call_id=info.request_id)


def sample(info: CallInfo, caller: Caller, wanted: Sequence[PredictRequest], answer: Answer) -> None:
    """Offer answered inputs to the samples of the model versions that end; most calls use nothing such."""
    if not samples.may_end(""):
        return
    answered = [
        (request, result)
        for request, result in zip(wanted, answer.results, strict=True)
        if isinstance(result, PredictResult)
    ]
    names = (request.model or caller.default_model for request, _ in answered)
    for schedule, index in samples.ending("", names) if answered else ():
        request, result = answered[index]
        samples.offer(
            schedule=schedule,
            caller=caller,
            api_version=_SAID_AS,
            model=request.model,
            body=_as_rest(request, result),
            answer=Answer((result,), result.units, None),
            client=info.client,
        )


def _as_rest(request: PredictRequest, result: PredictResult) -> dict[str, Any]:
    value = request.input
    if isinstance(value, FlatTensor):
        ref = registry.resolve(f"{result.model}@{result.model_version}")
        value = value.values.reshape(ref.input_schema["shape"]).tolist()
    body: dict[str, Any] = {"input": value}
    if request.model:
        body["model"] = request.model
    if request.top_k is not None:
        body["parameters"] = {"top_k": request.top_k}
    return body
