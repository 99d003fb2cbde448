"""What calls about deprecations answer."""

from typing import Annotated, Final

from msgspec import Meta

from inference.deprecations.notices.banners import Severity
from inference.deprecations.rehearsals.report import RehearsalReport
from inference.models import RehearsalState, Verdict
from tenants.deprecations.rules import State
from tenants.http.answers import Answer, Count, Moment
from tenants.http.json_schemas import one_of
from tenants.models import SubjectKind

NOT_REHEARSED: Final = "not_rehearsed"


class Brownout(Answer, frozen=True):
    """A time in which a share of the calls fails."""

    starts_at: Moment
    ends_at: Moment
    share: Annotated[int, Meta(ge=1, le=100, description="Percent of the calls that fail.")]
    own: Annotated[bool, Meta(description="Rehearsed by your tenant; else planned for all tenants.")]


class BrownoutStopped(Answer, frozen=True):
    """The rehearsed brownouts have ended."""

    stopped: Annotated[Count, Meta(description="How many were running.")]


class Banner(Answer, frozen=True):
    """What people of a tenant are shown."""

    severity: Annotated[str, one_of(severity.value for severity in Severity)]
    title: str
    text: str


class DeprecationUse(Answer, frozen=True):
    """A tenant's calls of what ends."""

    days: Count
    calls: Count
    last_call_at: Moment | None


class LatestRehearsal(Answer, frozen=True):
    """How far a tenant's rehearsals are."""

    verdict: Annotated[
        str, one_of([*Verdict.values, NOT_REHEARSED]), Meta(description="Of the latest that was finished.")
    ]
    state: Annotated[Annotated[str, one_of(RehearsalState.values)] | None, Meta(description="Of the latest.")]


class Deprecation(Answer, frozen=True):
    """What ends for a tenant, and when."""

    id: int
    kind: Annotated[str, one_of(SubjectKind.values)]
    subject: Annotated[str, Meta(description="`v1`, or `sentiment@1.0.0`.")]
    state: Annotated[str, one_of(state.value for state in State), Meta(description="Now, for your tenant.")]
    successor: str
    guide: Annotated[str, Meta(extra_json_schema={"format": "uri"})]
    reason: str
    announced_at: Moment
    deprecated_at: Moment
    sunset_at: Annotated[Moment, Meta(description="For all tenants.")]
    own_sunset_at: Annotated[Moment, Meta(description="Your tenant's: later where it has an extension.")]
    use: Annotated[DeprecationUse, Meta(description="Your tenant's calls in the last days.")]
    brownouts: Annotated[list[Brownout], Meta(description="Of all tenants and of your own; not those that ended.")]
    banner: Annotated[
        Banner | None,
        Meta(description="What people of your tenant are shown now; null where there is nothing to say."),
    ]
    rehearsal: LatestRehearsal


class Deprecations(Answer, frozen=True):
    """Everything that ends for a tenant."""

    deprecations: list[Deprecation]


class Rehearsal(Answer, frozen=True):
    """A rehearsal of a migration, and its report."""

    state: Annotated[str, one_of(RehearsalState.values)]
    verdict: Annotated[str, one_of(Verdict.values)] | None
    error: Annotated[str | None, Meta(description="Why it failed, or waits for another try.")]
    requested_at: Moment
    finished_at: Moment | None
    report: RehearsalReport | None
