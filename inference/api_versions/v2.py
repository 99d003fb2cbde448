"""API version v2: every label with its score, the embedding or the scores; units, cache and latency; batches."""

from collections.abc import Mapping
from typing import Any, Final

from inference.api_versions import messages
from inference.api_versions.answers import Label, Prediction, PredictionUsage, Scores, TruncatedText, json_values
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
from inference.inputs import json_inputs, truncation
from inference.types import REFUSE, TO_LIMIT, PredictRequest, PredictResult
from mlplatform.lib.errors import PlatformError, invalid
from tenants.http.answers import UNSET
from tenants.http.messages import entries, read


def parse(body: Mapping[str, Any], *, model: str = "") -> PredictRequest:
    """A :class:`~inference.api_versions.messages.PredictRequest`; ``model`` is given where the address names it."""
    return _parse_one(body, model=model, path="")


def parse_batch(body: Mapping[str, Any], *, model: str = "") -> list[PredictRequest | PlatformError]:
    """A :class:`~inference.api_versions.messages.BatchRequest`, of which a request that cannot be read is its own problem.

    ``model`` is that of every request where the address names one.
    """
    parsed: list[PredictRequest | PlatformError] = []
    for item, path in entries(body, messages.BatchRequest, "requests"):
        try:
            parsed.append(_parse_one(item, model=model, path=path))
        except PlatformError as problem:
            parsed.append(problem)
    return parsed


def render(answer: Answer) -> dict[str, Any]:
    """One result as an object."""
    return json_values(answer_of(single(answer)))


def answer_of(result: PredictResult) -> Prediction | Scores:
    """A result as this version answers it."""
    usage = PredictionUsage(result.units)
    truncated = TruncatedText(*result.truncated) if result.truncated is not None else UNSET
    if result.embedding is not None and result.vector_name == "scores":
        return Scores(
            id=result.id,
            model=result.model,
            model_version=result.model_version,
            scores=result.embedding,
            usage=usage,
            cached=result.cached,
            latency_ms=result.latency_ms,
            truncated=truncated,
        )
    labels = [Label(item.label, item.rounded) for item in result.predictions or ()]
    return Prediction(
        id=result.id,
        model=result.model,
        model_version=result.model_version,
        predictions=labels if result.embedding is None else UNSET,
        embedding=UNSET if result.embedding is None else result.embedding,
        usage=usage,
        cached=result.cached,
        latency_ms=result.latency_ms,
        truncated=truncated,
    )


def _parse_one(body: Any, *, model: str, path: str) -> PredictRequest:
    said = read(body, messages.PredictRequest, path=path)
    if model and said.model is not None and said.model != model:
        raise invalid(f"{path}model", f"The address names {model!r}; leave the field out or let both be equal.")
    parameters = said.parameters
    return PredictRequest(
        model=model or said.model or "",
        input=json_inputs.read(said.input, field=f"{path}input"),
        top_k=parameters.top_k if parameters else None,
        truncate=truncation.flag(parameters.truncate) if parameters else REFUSE,
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
        request=messages.PredictRequest,
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
