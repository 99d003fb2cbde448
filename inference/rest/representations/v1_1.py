"""API version v1.1: v1, and which model version answered in which time. Minor versions only add."""

from typing import Any

from inference.predict import Answer, single
from inference.rest.representations.v1 import best, parse

__all__ = ["parse", "render"]


def render(answer: Answer) -> dict[str, Any]:
    """``{"prediction", "confidence", "model_version", "latency_ms"}``."""
    result = single(answer)
    return best(result) | {"model_version": result.model_version, "latency_ms": result.latency_ms}
