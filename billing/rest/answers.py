"""What reports answer: ``…/usage``, ``…/limits``, ``…/limits/explain/{request_id}`` and ``…/me``."""

from typing import Annotated, TypeAlias, get_args

import msgspec
from msgspec import Meta

from billing.admission import LimitKind
from billing.metering.reports import Grouping
from tenants.http.answers import UNSET, Absent, Answer, Count, Day, Moment, Seconds
from tenants.http.json_schemas import one_of
from tenants.rest.declarations import ApiVersionName
from tenants.scopes import SCOPES

_Calls: TypeAlias = Annotated[
    Count,
    Meta(
        description="Calls, each once, however many inputs and models it had. By model: the calls that named it, so that a "
        "call of several models stands in several lines, and once in the total."
    ),
]
_Inputs: TypeAlias = Annotated[Count, Meta(description="Inputs that were answered.")]
_CachedInputs: TypeAlias = Annotated[Count, Meta(description="Inputs that a cache answered.")]
_SavedUnits: TypeAlias = Annotated[
    Count, Meta(description="What cached answers would have cost more, had they been computed.")
]
_Ratio: TypeAlias = Annotated[
    Annotated[float, Meta(ge=0, le=1)] | None, Meta(description="Cached inputs of all inputs; null without inputs.")
]
_SetBy: TypeAlias = Annotated[str, Meta(examples=["plan Pro"])]


class UsageLine(Answer, frozen=True, kw_only=True):
    """Sums of one day, model, key, API version or operation."""

    day: str | Absent = UNSET
    model: (
        Annotated[str, Meta(description="Empty for what belongs to no model: fees of calls, points of GraphQL.")]
        | Absent
    ) = UNSET
    key: str | Absent = UNSET
    api_version: str | Absent = UNSET
    operation: str | Absent = UNSET
    what: (
        Annotated[str, Meta(description="By model: the model, or `(call fee)` where it is empty, as the CSV has it.")]
        | Absent
    ) = UNSET
    calls: _Calls
    inputs: _Inputs
    cached_inputs: _CachedInputs
    units: Count
    saved_units: _SavedUnits
    cache_hit_ratio: _Ratio


class UsageTotal(Answer, frozen=True):
    """The sums of all lines; each call once."""

    calls: _Calls
    inputs: _Inputs
    cached_inputs: _CachedInputs
    units: Count
    saved_units: _SavedUnits
    cache_hit_ratio: _Ratio


class Usage(Answer, frozen=True):
    """What a tenant used."""

    first: Day = msgspec.field(name="from")
    last: Day = msgspec.field(name="to")
    by: Annotated[str, one_of(get_args(Grouping))]
    lines: list[UsageLine]
    total: UsageTotal


class _Limit(Answer, frozen=True):
    name: Annotated[str, Meta(description="As in the RateLimit header.")]
    kind: Annotated[str, one_of(kind.value for kind in LimitKind)]
    counts: Annotated[str, one_of(["units", "requests"])]
    scope: Annotated[str, one_of(["tenant", "key", "model"]), Meta(description="Who shares it.")]
    model: Annotated[str | None, Meta(description="The model that it limits, if only one.")]
    amount: Annotated[
        Count, Meta(description="Capacity of a bucket, quota of a window or month, or requests at a time.")
    ]


class LimitNow(_Limit, frozen=True):
    """The state of a limit now."""

    window_s: Annotated[int | None, Meta(description="Length of a fixed or sliding window.")]
    refill_per_s: Annotated[float | None, Meta(description="What a token bucket gains a second.")]
    set_by: _SetBy
    remaining: Count
    whole_again_in_s: Seconds


class Limits(Answer, frozen=True):
    """Every limit of a key."""

    plan: str | None
    limits: list[LimitNow]


class LimitThen(_Limit, frozen=True):
    """The state of a limit when it, or another, refused a call."""

    set_by: _SetBy
    asked: Annotated[Count, Meta(description="What the call would have taken from it.")]
    remaining: Count
    refused: bool
    would_have_passed_after_s: Annotated[
        float | None, Meta(description="0 for a limit that did not refuse; null when the call can never pass.")
    ]


class Refusal(Answer, frozen=True):
    """Why a call was refused."""

    request_id: str
    refused_at: Moment
    would_have_passed_at: Moment | None
    limits: list[LimitThen]


class MyTenant(Answer, frozen=True):
    """The tenant of a key."""

    slug: str
    name: str
    default_model: str | None


class MyKey(Answer, frozen=True):
    """A key, and what it may do."""

    id: str
    name: str
    mode: Annotated[str, one_of(["live", "test"])]
    scopes: list[Annotated[str, one_of(SCOPES)]]
    allowed_models: list[str] | None
    allowed_networks: list[str] | None
    pinned_api_version: ApiVersionName | None
    valid_until: Moment | None


class Me(Answer, frozen=True):
    """Who is calling."""

    tenant: MyTenant
    key: MyKey
    plan: str | None
