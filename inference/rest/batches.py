"""The answer of ``POST …/batch-predict``: results as API version v2 writes them, and problems as REST writes them."""

from collections.abc import Sequence
from typing import Any

from inference.api_versions import v2
from inference.api_versions.answers import BatchAnswer, PredictionUsage, json_values
from inference.types import PredictResult
from mlplatform.lib.errors import PlatformError
from tenants.http import problems


def render(results: Sequence[PredictResult | PlatformError], *, units: int, request_id: str) -> dict[str, Any]:
    """A :class:`BatchAnswer`: to each request its result or its problem, in their order."""
    responses = [
        problems.body(result, request_id=request_id) if isinstance(result, PlatformError) else v2.answer_of(result)
        for result in results
    ]
    return json_values(BatchAnswer(responses, PredictionUsage(units)))
