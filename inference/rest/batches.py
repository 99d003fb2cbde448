"""The answer of ``POST …/batch-predict``: results as API version v2 writes them, and problems as REST writes them."""

from collections.abc import Sequence
from typing import Any

from inference.api_versions import v2
from inference.types import PredictResult
from mlplatform.lib.errors import PlatformError
from tenants.http import problems


def render(results: Sequence[PredictResult | PlatformError], *, units: int, request_id: str) -> dict[str, Any]:
    """``{"responses": […], "usage": {"units"}}``: each its result or its problem, in the order of the requests."""
    responses = [
        problems.body(result, request_id=request_id) if isinstance(result, PlatformError) else v2.result_body(result)
        for result in results
    ]
    return {"responses": responses, "usage": {"units": units}}
