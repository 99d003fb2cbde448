"""API version v2: every label with its score, or the embedding; units, cache and latency; batches."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.conf import settings

from inference.predict import Answer, single
from inference.rest import parsing
from inference.types import PredictRequest, PredictResult
from mlplatform.lib.errors import PlatformError, invalid
from tenants.rest import problems

_FIELDS = frozenset({"model", "input", "parameters"})


def parse(body: Mapping[str, Any], *, model: str = "") -> PredictRequest:
    """``{"model", "input", "parameters": {"top_k"}}``; ``model`` is given where the address names it."""
    if model and "model" in body and body["model"] != model:
        raise invalid("model", f"The address names {model!r}; leave the field out or let both be equal.")
    return _parse_one(body, model=model, path="")


def parse_batch(body: Mapping[str, Any]) -> list[PredictRequest | PlatformError]:
    """``{"requests": [{"model", "input", "parameters"}, …]}``; one that cannot be read is its own problem."""
    parsing.only(body, {"requests"})
    requests = parsing.required(body, "requests")
    if not isinstance(requests, list) or not requests:
        raise invalid("requests", "The requests are a list of at least one object.")
    if len(requests) > settings.MAX_BATCH_REQUESTS:
        raise invalid("requests", f"A call takes at most {settings.MAX_BATCH_REQUESTS} requests, not {len(requests)}.")
    parsed: list[PredictRequest | PlatformError] = []
    for index, item in enumerate(requests):
        try:
            if not isinstance(item, dict):
                raise invalid(f"requests[{index}]", "Each request is an object with model and input.")
            parsed.append(_parse_one(item, model="", path=f"requests[{index}]."))
        except PlatformError as problem:
            parsed.append(problem)
    return parsed


def render(answer: Answer) -> dict[str, Any]:
    """One result as an object."""
    return _result(single(answer))


def render_batch(results: Sequence[PredictResult | PlatformError], *, units: int, request_id: str) -> dict[str, Any]:
    """``{"responses": […], "usage": {"units"}}``: each its result or its problem, in the order of the requests."""
    responses = [
        problems.body(result, request_id=request_id) if isinstance(result, PlatformError) else _result(result)
        for result in results
    ]
    return {"responses": responses, "usage": {"units": units}}


def _parse_one(body: Mapping[str, Any], *, model: str, path: str) -> PredictRequest:
    parsing.only(body, _FIELDS, path=path)
    return PredictRequest(
        model=model or parsing.model(body, path=path),
        input=parsing.required(body, "input", path=path),
        top_k=parsing.top_k(body, path=path) if "parameters" in body else None,
        path=path,
    )


def _result(result: PredictResult) -> dict[str, Any]:
    body: dict[str, Any] = {"id": result.id, "model": result.model, "model_version": result.model_version}
    if result.embedding is not None:
        body["embedding"] = result.embedding
    else:
        body["predictions"] = [{"label": item.label, "score": item.score} for item in result.predictions or ()]
    body["usage"] = {"units": result.units}
    body["cached"] = result.cached
    body["latency_ms"] = result.latency_ms
    return body
