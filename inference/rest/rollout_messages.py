"""What calls say to change rollouts. What the documents say of their fields is said here."""

from typing import Annotated, TypeAlias

from msgspec import Meta

from tenants.http.messages import Message

_Version: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64, examples=["1.2.0"])]
ErrorRate: TypeAlias = Annotated[
    float,
    Meta(
        ge=0,
        le=1,
        description="Share of the canary's inputs that may fail, as long as the live version's do not fail as well.",
    ),
]
LatencyRatio: TypeAlias = Annotated[
    float, Meta(ge=1, le=100, description="How many times the live version's median latency the canary's may be.")
]
Calls: TypeAlias = Annotated[
    int, Meta(ge=1, le=1_000_000, description="How many inputs must be seen before the bounds count.")
]


class PromoteRequest(Message, frozen=True):
    """Which version becomes live."""

    version: _Version


class UpdateModelRequest(Message, frozen=True):
    """Which version of which model becomes live."""

    model: Annotated[str, Meta(min_length=1, max_length=64)]
    version: _Version


class CanaryRequest(Message, frozen=True):
    """Which version is tried on how many, and what ends it; the platform's bounds where it names none."""

    version: _Version
    percent: Annotated[int, Meta(ge=1, le=100, description="Of the tenants; of a private model 100.")]
    max_error_rate: ErrorRate | None = None
    max_latency_ratio: LatencyRatio | None = None
    min_calls: Calls | None = None


class ShadowRequest(Message, frozen=True):
    """Which version computes beside the live one, and how much."""

    version: _Version
    percent: Annotated[int, Meta(ge=1, le=100, description="Of the computed inputs.")] = 100
