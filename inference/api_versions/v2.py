"""API version v2: every label with its score, the embedding or the scores; units, cache and latency; batches."""

from collections.abc import Mapping
from typing import Any, Final

from django.conf import settings

from inference.api_versions import fields
from inference.api_versions.changes import (
    AddedAnswerField,
    AddedOperation,
    AddedRequestField,
    CannotSay,
    MovedAnswerField,
    NowAskedFor,
)
from inference.api_versions.description import ApiDescription, Example, Native
from inference.engine.predict import Answer, single
from inference.inputs import json_inputs
from inference.types import REFUSE, TO_LIMIT, PredictRequest, PredictResult
from mlplatform.lib.errors import PlatformError, invalid

_FIELDS: Final = {"model": False, "input": True, "parameters": False}


def parse(body: Mapping[str, Any], *, model: str = "") -> PredictRequest:
    """``{"model", "input", "parameters": {"top_k", "truncate"}}``; ``model`` is given where the address names it."""
    return _parse_one(body, model=model, path="")


def parse_batch(body: Mapping[str, Any], *, model: str = "") -> list[PredictRequest | PlatformError]:
    """``{"requests": [{"model", "input", "parameters"}, …]}``; one that cannot be read is its own problem.

    ``model`` is that of every request where the address names one.
    """
    body = fields.only(body, {"requests"})
    requests = fields.required(body, "requests")
    if not isinstance(requests, list) or not requests:
        raise invalid("requests", "The requests are a list of at least one object.")
    if len(requests) > settings.MAX_BATCH_REQUESTS:
        raise invalid("requests", f"A call takes at most {settings.MAX_BATCH_REQUESTS} requests, not {len(requests)}.")
    parsed: list[PredictRequest | PlatformError] = []
    for index, item in enumerate(requests):
        try:
            if not isinstance(item, dict):
                raise invalid(f"requests[{index}]", "Each request is an object with model and input.")
            parsed.append(_parse_one(item, model=model, path=f"requests[{index}]."))
        except PlatformError as problem:
            parsed.append(problem)
    return parsed


def render(answer: Answer) -> dict[str, Any]:
    """One result as an object."""
    return result_body(single(answer))


def result_body(result: PredictResult) -> dict[str, Any]:
    """``{"id", "model", "model_version", "predictions", "embedding" or "scores", "usage", "cached", "latency_ms"}``, and
    ``truncated`` where the text was cut."""
    body: dict[str, Any] = {"id": result.id, "model": result.model, "model_version": result.model_version}
    if result.embedding is not None:
        body[result.vector_name] = result.embedding
    else:
        body["predictions"] = [{"label": item.label, "score": item.rounded} for item in result.predictions or ()]
    body["usage"] = {"units": result.units}
    body["cached"] = result.cached
    body["latency_ms"] = result.latency_ms
    if result.truncated is not None:
        body["truncated"] = result.truncated.as_json()
    return body


def _parse_one(body: Mapping[str, Any], *, model: str, path: str) -> PredictRequest:
    body = fields.only(body, _FIELDS, path=path)
    if model and "model" in body and body["model"] != model:
        raise invalid(f"{path}model", f"The address names {model!r}; leave the field out or let both be equal.")
    return PredictRequest(
        model=model or fields.model(body, path=path),
        input=json_inputs.read(fields.required(body, "input", path=path), field=f"{path}input"),
        top_k=fields.top_k(body, path=path) if "parameters" in body else None,
        truncate=fields.truncate(body, path=path) if "parameters" in body else REFUSE,
        path=path,
    )


VERSION: Final = ApiDescription(
    "v2",
    follows="v1.1",
    changes=(
        AddedRequestField("parameters", summary="A call can say how many labels it wants: `parameters.top_k`."),
        NowAskedFor(
            "parameters.truncate",
            meant={"truncate": TO_LIMIT},
            summary="A text with more tokens than the model reads is refused, with their number, unless the call lets it be "
            'cut with `"parameters": {"truncate": true}`. Until now it was cut, which only the header `X-Input-Truncated` '
            "told.",
        ),
        AddedAnswerField("truncated", summary="The answer to a text that was cut says so, in `truncated.tokens`."),
        AddedAnswerField(
            "predictions", summary="The answer has every label with its score, best first, in the list `predictions`."
        ),
        MovedAnswerField("prediction", "predictions[0].label", summary="The best label is the first of that list."),
        MovedAnswerField("confidence", "predictions[0].score", summary="How sure the model is of it stands beside it."),
        AddedAnswerField("id", summary="The answer has an `id`, under which its usage record is kept."),
        AddedAnswerField("model", summary="The answer names the model."),
        AddedAnswerField("usage", summary="The answer says what it cost, in `usage.units`."),
        AddedAnswerField("cached", summary="The answer says whether it came from the cache."),
        CannotSay(
            "embedding",
            demands=("labels_only",),
            summary="Models that turn an input into a vector can be called; they answer with `embedding` in place of "
            "`predictions`.",
        ),
        AddedOperation("POST /batch-predict", summary="Many inputs, of several models if need be, go in one call."),
        AddedOperation("POST /models/{model}/predict", summary="The address can name the model."),
        AddedOperation(
            "GET /models",
            summary="Programs can read the models, and with them `GET /usage`, `GET /limits` and `GET /me`.",
        ),
    ),
    native=Native(
        parse=parse,
        render=render,
        request_fields=_FIELDS,
        example=Example(
            request={"model": "sentiment", "input": "What a wonderful morning!"},
            answer={
                "id": "5f0c2a9e41d74b6c8a3e9d10b7c2f418",
                "model": "sentiment",
                "model_version": "1.0.0",
                "predictions": [{"label": "positive", "score": 0.981274}, {"label": "negative", "score": 0.018726}],
                "usage": {"units": 1},
                "cached": False,
                "latency_ms": 8.4,
            },
        ),
    ),
)
