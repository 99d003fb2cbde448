"""What predictions answer, in each API version."""

from typing import Annotated, Any, ClassVar, TypeAlias

import msgspec
import numpy as np
from msgspec import Meta

from tenants.http.answers import UNSET, Absent, Answer, Count, Share
from tenants.http.json_schemas import Schema

_Id: TypeAlias = Annotated[str, Meta(description="Names this prediction and its usage record.")]
_Latency: TypeAlias = Annotated[float, Meta(ge=0, description="Milliseconds in the service.")]


class PredictionV1(Answer, frozen=True):
    """The best label."""

    prediction: str
    confidence: Share


class PredictionV1_1(PredictionV1, frozen=True):  # noqa: N801 - the component's name
    """The best label, which model version gave it, and in which time."""

    model_version: str
    latency_ms: _Latency


class Label(Answer, frozen=True):
    """A label and how sure the model is of it."""

    label: str
    score: Share


class PredictionUsage(Answer, frozen=True):
    """What a call took."""

    units: Annotated[Count, Meta(description="What was charged.")]


class TruncatedText(Answer, frozen=True):
    """How much of a text was read."""

    tokens: Annotated[int, Meta(ge=1, description="Of the whole text, special ones included.")]
    max_tokens: Annotated[int, Meta(ge=1, description="How many of them were read.")]


_Truncated: TypeAlias = Annotated[
    TruncatedText, Meta(description="Only where the text was cut, which `parameters.truncate` allows.")
]


class Prediction(Answer, frozen=True, kw_only=True):
    """What a model answers that finds labels, or turns its input into a vector."""

    more: ClassVar[Schema] = {"oneOf": [{"required": ["predictions"]}, {"required": ["embedding"]}]}

    id: _Id
    model: str
    model_version: str
    predictions: Annotated[list[Label], Meta(description="Labels, best first.")] | Absent = UNSET
    embedding: (
        Annotated[
            Any,
            Meta(
                description="In place of predictions for a model that answers with a vector.",
                extra_json_schema={"type": "array", "items": {"type": "number"}},
            ),
        ]
        | Absent
    ) = UNSET
    usage: PredictionUsage
    cached: bool
    latency_ms: _Latency
    truncated: _Truncated | Absent = UNSET


class Scores(Answer, frozen=True, kw_only=True):
    """What a model answers that scores candidates."""

    id: _Id
    model: str
    model_version: str
    scores: Annotated[
        Any,
        Meta(
            description="One for each candidate, in order.",
            extra_json_schema={"type": "array", "items": {"type": "number", "minimum": 0, "maximum": 1}},
        ),
    ]
    usage: PredictionUsage
    cached: bool
    latency_ms: _Latency
    truncated: _Truncated | Absent = UNSET


def json_values(answer: Answer) -> dict[str, Any]:
    """The answer as dicts and lists. Vectors stay arrays, which orjson writes with the few digits that a float32 has."""
    values: dict[str, Any] = msgspec.to_builtins(answer, builtin_types=(np.ndarray,))
    return values
