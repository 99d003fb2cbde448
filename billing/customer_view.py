"""What people are shown of a tenant's calls and limits: in the admin, and by the same partials to the customer.

Each function reads what a page needs in a fixed number of queries and round trips, and puts it into words. Partials in
``templates/calls/`` render the answers; ``None`` stands for "unknown: the state Redis does not answer".
"""

import datetime as dt
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from billing import admission, charging, contracts
from billing.admission import LimitState, Refusal, RefusedLimit
from billing.contracts import Contract
from billing.metering import reports as usage_reports
from billing.models import LimitRule, UsageRecord
from mlplatform.lib.errors import PlatformError
from tenants.guards import StaleCaller
from tenants.models import ApiKey, Tenant

SHOWN: Final = 10
_RECORDS: Final = 20
_READ: Final = 500
_RESET_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class LimitNow:
    """One limit now. ``rule`` is such as ``200 units, refilled 20 a second``; ``used_percent`` is 0 to 100, rounded up."""

    name: str
    rule: str
    model: str
    set_by: str
    counts: str
    amount: int
    left: int
    used_percent: int
    whole_in: str

    @property
    def tone(self) -> str:
        """The colour of the bar."""
        return "danger" if self.left <= 0 else "warning" if self.used_percent >= 80 else "ok"


@dataclass(frozen=True, slots=True)
class LimitThen:
    """One limit at the moment of a refusal: what the call asked of it, what it had, and what it said."""

    name: str
    rule: str
    model: str
    set_by: str
    asked: int
    had: int
    refused: bool
    verdict: str


@dataclass(frozen=True, slots=True)
class RefusedCall:
    """A call that limits refused. ``passes`` is such as ``would pass after 9.95 s``."""

    request_id: str
    at: dt.datetime
    key: str
    models: str
    refused_by: str
    passes: str
    limits: tuple[LimitThen, ...]

    @property
    def tightest(self) -> LimitThen:
        """The one that the call's problem names: it would have kept the call waiting longest."""
        return next(limit for limit in self.limits if limit.name == self.refused_by)


@dataclass(frozen=True, slots=True)
class RefusedCalls:
    """Refusals of 24 hours: how many, and the newest of them."""

    count: int
    newest: tuple[RefusedCall, ...]


@dataclass(frozen=True, slots=True)
class RecordedLine:
    """One usage record in words. ``what`` is such as ``sentiment@1.0.0``, or the fee of the call itself."""

    id: str
    what: str
    answered: str
    inputs: int
    units: int


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """A call that was answered: what it was charged, and for what. ``more`` lines are not among ``lines``."""

    at: dt.datetime
    key: str
    api_version: str
    client: str
    inputs: int
    units: int
    taken_back: bool
    lines: tuple[RecordedLine, ...]
    more: int


@dataclass(frozen=True, slots=True)
class Call:
    """What is known of the calls of one tenant with one request id; at least one of both is there."""

    tenant: Tenant
    request_id: str
    refused: RefusedCall | None
    recorded: RecordedCall | None


def limits_of_tenant(tenant: Tenant) -> list[LimitNow] | None:
    """The limits that all keys of the tenant share."""
    return _limits_now(contracts.of_tenant(tenant))


def limits_of_key(key: ApiKey) -> list[LimitNow] | None:
    """Every limit of the key, with those that it shares; ``key.tenant`` is read."""
    return _limits_now(contracts.of_key(key))


def refusals_of_tenant(tenant: Tenant) -> RefusedCalls | None:
    """What limits refused within 24 hours."""
    return _refusals(tenant, key_id="")


def refusals_of_key(key: ApiKey) -> RefusedCalls | None:
    """The same of one key, among its tenant's newest 1,000."""
    return _refusals(key.tenant, key_id=key.uid)


def find_calls(request_id: str, *, within: Tenant | None = None) -> list[Call]:
    """The calls with this request id, of one tenant or of all. Raises UNAVAILABLE while Redis is away.

    Answers of any age are found, refusals of 24 hours. Clients may choose request ids, so there may be several.
    """
    among = Tenant.objects.order_by("pk") if within is None else Tenant.objects.filter(pk=within.pk)
    shards = among.values_list("shard", "pk").iterator()
    refusals = admission.find(request_id=request_id, tenants=shards)
    rows = UsageRecord.objects.filter(request_id=request_id).order_by("-occurred_at", "-pk")
    records: dict[int, list[UsageRecord]] = {}
    for row in (rows if within is None else rows.filter(tenant=within))[:_READ]:
        records.setdefault(row.tenant_id, []).append(row)
    names = _key_names({*(one.key_id for one in refusals.values()), *(found[0].key_uid for found in records.values())})
    return [
        Call(
            tenant=tenant,
            request_id=request_id,
            refused=_refused(refusals[tenant.pk], names) if tenant.pk in refusals else None,
            recorded=_recorded(records[tenant.pk], names) if tenant.pk in records else None,
        )
        for tenant in Tenant.objects.filter(pk__in={*refusals, *records}).order_by("name")
    ]


def _limits_now(contract: Contract) -> list[LimitNow] | None:
    try:
        decision = charging.peek(contract=contract, limits=contract.limits)
    except (PlatformError, StaleCaller):
        return None
    return [_now(state) for state in decision.states]


def _now(state: LimitState) -> LimitNow:
    limit = state.limit
    left = max(0, state.remaining)
    return LimitNow(
        name=limit.name,
        rule=_rule(limit.kind.value, limit.counts, limit.amount, limit.window_s, limit.rate),
        model=limit.subject,
        set_by=limit.source,
        counts=limit.counts,
        amount=limit.amount,
        left=left,
        used_percent=100 if limit.amount == 0 else math.ceil(100 * max(0, limit.amount - left) / limit.amount),
        whole_in=words_of(state.reset_s) if state.reset_s >= _RESET_S else "",
    )


def _refusals(tenant: Tenant, *, key_id: str) -> RefusedCalls | None:
    try:
        found = admission.recent(shard=tenant.shard, tenant_id=tenant.pk, newest=SHOWN, key_id=key_id)
    except PlatformError:
        return None
    names = _key_names({refusal.key_id for refusal in found.newest})
    return RefusedCalls(count=found.count, newest=tuple(_refused(refusal, names) for refusal in found.newest))


def _refused(refusal: Refusal, names: dict[str, str]) -> RefusedCall:
    tightest = max((limit for limit in refusal.limits if limit.refused), key=lambda limit: limit.wait_s)
    return RefusedCall(
        request_id=refusal.request_id,
        at=refusal.at,
        key=names.get(refusal.key_id, refusal.key_id),
        models=", ".join(refusal.models),
        refused_by=tightest.name,
        passes=_passes(refusal),
        limits=tuple(_then(limit) for limit in refusal.limits),
    )


def _passes(refusal: Refusal) -> str:
    if refusal.would_pass_at is not None:
        return f"would pass after {words_of(refusal.wait_s)}"
    nothing = any(limit.refused and limit.amount == 0 for limit in refusal.limits)
    return "can never pass: nothing is included" if nothing else "can never pass: it asks for more than fits"


def _then(limit: RefusedLimit) -> LimitThen:
    if not limit.refused:
        verdict = "passed"
    elif math.isinf(limit.wait_s):
        verdict = "refused: nothing is included" if limit.amount == 0 else "refused: more than ever fits"
    else:
        verdict = f"refused, would pass after {words_of(limit.wait_s)}"
    return LimitThen(
        name=limit.name,
        rule=_rule(limit.kind.value, limit.counts, limit.amount, int(limit.window_s), limit.rate),
        model=limit.subject,
        set_by=limit.source,
        asked=limit.asked,
        had=max(0, limit.remaining),
        refused=limit.refused,
        verdict=verdict,
    )


def _recorded(newest_first: Sequence[UsageRecord], names: dict[str, str]) -> RecordedCall:
    rows = newest_first[::-1]
    first = rows[0]
    return RecordedCall(
        at=first.occurred_at,
        key=names.get(first.key_uid, first.key_uid),
        api_version=first.api_version,
        client=first.client,
        inputs=sum(row.inputs for row in rows),
        units=sum(row.units for row in rows),
        taken_back=any(row.voids_id for row in rows),
        lines=tuple(_line(row) for row in rows[:_RECORDS]),
        more=max(0, len(rows) - _RECORDS),
    )


def _line(row: UsageRecord) -> RecordedLine:
    version = f"@{row.model_version}" if row.model_version else ""
    answered = "taken back" if row.voids_id else "from the cache" if row.cached else "computed"
    return RecordedLine(
        id=row.pk,
        what=f"{row.model}{version}" if row.model else usage_reports.NO_MODEL,
        answered=answered if row.model or row.voids_id else "",
        inputs=row.inputs,
        units=row.units,
    )


def _key_names(uids: Iterable[str]) -> dict[str, str]:
    wanted = [uid for uid in uids if uid]
    return dict(ApiKey.objects.filter(uid__in=wanted).values_list("uid", "name")) if wanted else {}


def _rule(kind: str, counts: str, amount: int, window_s: int, rate: float) -> str:
    return LimitRule(kind=kind, counts=counts, amount=amount, window_s=window_s, rate=rate).describe()


def words_of(seconds: float) -> str:
    """Such as ``0.25 s``, ``59 s``, ``12 min`` or ``3 days``; never rounded to a time that is too early."""
    if seconds < 10:
        return f"{math.ceil(seconds * 100) / 100:g} s"
    for length, name in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{math.ceil(seconds / length):,} {name}"
    return f"{math.ceil(seconds)} s"
