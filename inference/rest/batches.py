"""The answer of ``POST …/batch-predict``: results as API version v2 writes them, and problems as REST writes them."""

from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Meta

from inference.api_versions import v2
from inference.api_versions.answers import Prediction, PredictionUsage, Scores, json_values
from inference.types import PredictResult
from mlplatform.lib.errors import PlatformError
from tenants.http import problems
from tenants.http.answers import Answer
from tenants.http.json_schemas import any_of
from tenants.http.problems import Problem


class BatchAnswer(Answer, frozen=True):
    """The answers to a batch."""

    responses: Annotated[
        list[Annotated[Any, any_of(Prediction, Scores, Problem)]],
        Meta(description="The result or the problem of each request, in their order."),
    ]
    usage: Annotated[PredictionUsage, Meta(description="Of all, with the fee of the call.")]


def render(results: Sequence[PredictResult | PlatformError], *, units: int, request_id: str) -> dict[str, Any]:
    """A :class:`BatchAnswer`: to each request its result or its problem, in their order."""
    responses = [
        problems.body(result, request_id=request_id) if isinstance(result, PlatformError) else v2.answer_of(result)
        for result in results
    ]
    return json_values(BatchAnswer(responses, PredictionUsage(units)))
