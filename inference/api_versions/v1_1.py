"""API version v1.1: v1, and which model version answered in which time. Minor versions only add."""

from typing import Final

from inference.api_versions.changes import AddedAnswerField
from inference.api_versions.description import ApiDescription

VERSION: Final = ApiDescription(
    "v1.1",
    follows="v1",
    changes=(
        AddedAnswerField("model_version", summary="The answer names the model version that gave it."),
        AddedAnswerField("latency_ms", summary="The answer says how many milliseconds it took in the service."),
    ),
)
