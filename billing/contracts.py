"""What a caller is bound by: its plan and every limit that applies to it, kept in memory for as long as nothing changes.

The memory is keyed by the versions of tenant and key. A change of a plan or a limit grows the versions of the tenants
it concerns, so the guards make every process ask here anew; the 30 seconds only bound a subscription that starts by date.
"""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from django.conf import settings
from django.db.models import Q

from billing.admission import Limit, LimitKind, Subject
from billing.models import LimitRule, LimitScope, Plan, Subscription
from mlplatform.lib import clock
from mlplatform.lib.ttl_cache import TTLCache
from tenants import guards
from tenants.authentication import Caller
from tenants.models import ApiKey, Tenant

INCLUDED = "included"


@dataclass(frozen=True, slots=True)
class Contract:
    """A caller's plan and limits. ``plan_name`` is empty for a tenant without a subscription, which may spend nothing.

    ``weight`` is the tenant's share of busy workers, against a tenant of weight 1; ``pixels_per_s`` how many pixels a process
    unpacks for it a second, None where the plan says nothing.
    """

    subject: Subject
    limits: tuple[Limit, ...]
    plan_name: str
    weight: int = 1
    pixels_per_s: int | None = None

    def limits_for(self, models: Iterable[str]) -> tuple[Limit, ...]:
        """The limits that a call on these models must pass: those of other models do not concern it."""
        if not self._has_model_limits:
            return self.limits
        wanted = set(models)
        return tuple(limit for limit in self.limits if limit.scope != "model" or limit.subject in wanted)

    @property
    def _has_model_limits(self) -> bool:
        return any(limit.scope == "model" for limit in self.limits)


_Versions = tuple[int, int, str, int]
known_contracts: TTLCache[_Versions, Contract] = TTLCache(20_000)


def at_hand(caller: Caller) -> Contract | None:
    """As :func:`contract_of`, without a look into SQL."""
    return known_contracts.get((caller.tenant_id, caller.tenant_version, caller.key_uid, caller.key_version))


def contract_of(caller: Caller) -> Contract:
    """The contract of this caller, from memory if its versions are the same and it is at most 30 s old."""
    versions = (caller.tenant_id, caller.tenant_version, caller.key_uid, caller.key_version)
    contract = known_contracts.get(versions)
    if contract is None:
        contract = _load(caller)
        known_contracts.put(versions, contract, ttl_s=settings.CALLER_CACHE_S)
    return contract


def of_key(key: ApiKey) -> Contract:
    """The contract of a key, read anew, to look at rather than to call with."""
    tenant = key.tenant
    return _read(
        Subject(
            tenant_id=tenant.pk,
            shard=tenant.shard,
            key_id=key.uid,
            tenant_version=tenant.version,
            key_version=key.version,
        )
    )


def of_tenant(tenant: Tenant) -> Contract:
    """What all keys of a tenant share: limits that count each key by itself are not in it. To look at only."""
    no_key = Subject(
        tenant_id=tenant.pk,
        shard=tenant.shard,
        key_id="",
        tenant_version=tenant.version,
        key_version=-1,  # below every version, so that the script sets no guard for it
    )
    contract = _read(no_key)
    return replace(contract, limits=tuple(limit for limit in contract.limits if not counts_one_key(limit, "")))


def plan_now(tenant_id: int, *, at: dt.datetime | None = None) -> Plan | None:
    """The plan that the tenant is on at a moment, by default now."""
    running = Subscription.objects.select_related("plan").filter(tenant_id=tenant_id, starts_at__lte=at or clock.now())
    subscription = running.order_by("-starts_at").first()
    return subscription.plan if subscription else None


def plan_changed(*, plan: Plan) -> None:
    """To be called after a plan or its limits were saved: each of its tenants is bound by it at once."""
    guards.tenants_changed(
        list(Tenant.objects.filter(subscriptions__plan=plan).distinct().values_list("pk", flat=True))
    )


def subscription_changed(*, subscription: Subscription) -> None:
    """To be called after a subscription was saved or deleted."""
    guards.tenants_changed([subscription.tenant_id])


def rules_changed(*, rule: LimitRule) -> None:
    """To be called after a limit was saved or deleted, of a plan, a tenant or a key."""
    if rule.plan is not None:
        plan_changed(plan=rule.plan)
    elif rule.tenant_id is not None:
        guards.tenants_changed([rule.tenant_id])
    elif rule.key_id is not None:
        guards.key_changed(rule.key_id)


def counts_one_key(limit: Limit, key_uid: str) -> bool:
    """Whether only calls with this key are counted, as a key's own limit on one model does too."""
    return limit.id.endswith(f":{key_uid}")


def forget_all() -> None:
    """Empty the memory of this process; for tests."""
    known_contracts.clear()


def _load(caller: Caller) -> Contract:
    return _read(
        Subject(
            tenant_id=caller.tenant_id,
            shard=caller.shard,
            key_id=caller.key_uid,
            tenant_version=caller.tenant_version,
            key_version=caller.key_version,
        )
    )


def _read(subject: Subject) -> Contract:
    plan = plan_now(subject.tenant_id)
    owner = Q(tenant_id=subject.tenant_id) | Q(key__uid=subject.key_id)
    if plan is not None:
        owner |= Q(plan=plan)
    rules = LimitRule.objects.select_related("plan", "tenant", "key").filter(owner).order_by("pk")
    limits = [_limit(rule, subject.key_id) for rule in rules]
    included = _included(plan)
    if included is not None:
        limits.append(included)
    return Contract(
        subject=subject,
        limits=_one_of_equal(tuple(limits)),
        plan_name=plan.name if plan else "",
        weight=plan.weight if plan else 1,
        pixels_per_s=plan.pixels_per_s if plan else None,
    )


@lru_cache(maxsize=20_000)
def _one_of_equal(limits: tuple[Limit, ...]) -> tuple[Limit, ...]:
    """Always the same objects for limits that are equal, such as those of all tenants on a plan: what is kept by them is found
    at once, and not by comparing each of their fields."""
    return limits


def _limit(rule: LimitRule, key_uid: str) -> Limit:
    key_owned = rule.key_id is not None
    scope = LimitScope.KEY if key_owned and rule.scope == LimitScope.TENANT else rule.scope
    # The field of the limit's state: the rule's row, and the key where each key is counted by itself.
    suffix = f":{key_uid}" if key_owned or scope == LimitScope.KEY else ""
    return Limit(
        id=f"r{rule.pk}{suffix}",
        name=rule.name,
        kind=LimitKind(rule.kind),
        counts="requests" if rule.counts == "requests" else "units",
        scope="model" if scope == LimitScope.MODEL else "key" if scope == LimitScope.KEY else "tenant",
        subject=rule.model if scope == LimitScope.MODEL else "",
        amount=rule.amount,
        window_s=rule.window_s,
        rate=rule.rate,
        source=_source(rule),
    )


def _source(rule: LimitRule) -> str:
    if rule.plan is not None:
        return f"plan {rule.plan.name}"
    return f"key {rule.key.name}" if rule.key is not None else "an agreement with the tenant"


def _included(plan: Plan | None) -> Limit | None:
    """The hard cap as a limit. Without a plan nothing is included, so everything that costs is refused."""
    if plan is not None and not plan.hard_cap:
        return None
    return Limit(
        id="included",
        name=INCLUDED,
        kind=LimitKind.MONTHLY,
        counts="units",
        scope="tenant",
        subject="",
        amount=plan.included_units if plan else 0,
        source=f"plan {plan.name}" if plan else "no plan",
    )
