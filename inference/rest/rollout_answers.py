"""What calls about rollouts and pushed versions answer."""

from typing import Annotated

from msgspec import Meta

from inference.models import PromotionReason, VersionState
from inference.rest.rollout_messages import Calls, ErrorRate, LatencyRatio
from tenants.http.answers import UNSET, Absent, Answer, Count, Moment
from tenants.http.json_schemas import one_of


class ObservedArm(Answer, frozen=True):
    """What one of two versions computed."""

    inputs: Count
    errors: Count
    timed: Count
    median_ms: float | None


class ObservedCanary(Answer, frozen=True):
    """What was computed while a canary ran."""

    canary: ObservedArm
    live: ObservedArm


class ObservedShadow(Answer, frozen=True):
    """How a shadow's answers compare with the live version's."""

    compared: Count
    agreed: Annotated[Count, Meta(description="Same best label, or as good as the same vector.")]
    errors: Count
    refused: Annotated[Count, Meta(description="Inputs that the candidate does not take.")]
    dropped: Annotated[Count, Meta(description="Not compared, because workers were busy.")]
    mean_difference: Annotated[float | None, Meta(description="0: equal answers; 1: nothing in common.")]


class _Trial(Answer, frozen=True):
    version: str
    percent: Annotated[int, Meta(ge=1, le=100)]
    started_at: Moment


class Canary(_Trial, frozen=True):
    """A version that answers a share of the tenants."""

    observed: Annotated[ObservedCanary | None, Meta(description="What was computed so far; null in the first seconds.")]
    max_error_rate: ErrorRate
    max_latency_ratio: LatencyRatio
    min_calls: Calls


class Shadow(_Trial, frozen=True):
    """A version that computes beside the live one."""

    observed: Annotated[ObservedShadow | None, Meta(description="What was compared so far; null in the first seconds.")]


class LiveSwitch(Answer, frozen=True):
    """A switch of the live version."""

    version: str
    reason: Annotated[str, one_of(PromotionReason.values)]
    at: Moment


class Rollouts(Answer, frozen=True):
    """What is live, what is tried, and how it came to that."""

    model: str
    live_version: str | None
    rollback_version: Annotated[
        str | None,
        Meta(description="Where a rollback would go now; null where there is nothing to go back to."),
    ]
    canary: Canary | None
    shadow: Shadow | None
    history: Annotated[list[LiveSwitch], Meta(description="Every switch of the live version, the latest first.")]


class PushedVersion(Answer, frozen=True):
    """A version as those who manage its model see it."""

    model: str
    version: str
    state: Annotated[
        str,
        one_of(VersionState.values),
        Meta(description="`staged` until a worker has loaded it and its examples gave what they must; then `ready`."),
    ]
    load_error: Annotated[str | None, Meta(description="Why no worker can serve it.")]
    task: str
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    size_bytes: Count
    created_at: Moment
    notices: (
        Annotated[
            list[str],
            Meta(description="Of a push: what to know of the model's name, such as that a model on sale has it too."),
        ]
        | Absent
    ) = UNSET
