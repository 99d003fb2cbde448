"""API version v1: the best label of a classification and how sure the model is."""

from collections.abc import Mapping
from typing import Any

from inference.predict import Answer, single
from inference.rest import parsing
from inference.types import PredictRequest, PredictResult


def parse(body: Mapping[str, Any], *, model: str = "") -> PredictRequest:
    """``{"model", "input"}``."""
    parsing.only(body, {"model", "input"})
    return PredictRequest(model=model or parsing.model(body), input=parsing.required(body, "input"), labels_only=True)


def render(answer: Answer) -> dict[str, Any]:
    """``{"prediction", "confidence"}``."""
    return best(single(answer))


def best(result: PredictResult) -> dict[str, Any]:
    """The best label; ``labels_only`` has refused models without labels before they cost."""
    first = next(iter(result.predictions or ()))
    return {"prediction": first.label, "confidence": first.score}
