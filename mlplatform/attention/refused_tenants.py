"""Tenants most of whose calls are refused by limits: which limit it is, with which key, and where both are changed."""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from django.urls import reverse

from billing import admission
from billing.admission import Refusal
from billing.contracts import INCLUDED
from billing.models import UsageRecord
from mlplatform.attention.notice import Link, Notice
from mlplatform.lib import clock
from mlplatform.lib.errors import PlatformError
from tenants.models import ApiKey, TenantStatus

_WITHIN: Final = dt.timedelta(hours=1)
_KEYS_USED_WITHIN: Final = _WITHIN * 2
_LEAST: Final = 20
"""Fewer refusals than this in an hour are no customer in trouble."""
_MOST_NAMED: Final = 3
_LOOKED_AT: Final = 100


@dataclass(frozen=True, slots=True)
class _Refused:
    """``why`` are the newest refusals of a tenant."""

    tenant_id: int
    name: str
    refused: int
    answered: int
    why: Sequence[Refusal]


def mostly_refused() -> Iterable[Notice]:
    """The three tenants with the most refusals within an hour, if these are at least half of their calls."""
    try:
        found = list(_found())
    except PlatformError:
        return  # Said already, by the notice of the workers.
    uids = {refusal.key_id for one in found for refusal in one.why}
    keys = {key.uid: key for key in ApiKey.objects.filter(uid__in=uids)} if uids else {}
    for one in found:
        yield _notice(one, keys)


def _found() -> Iterable[_Refused]:
    now = clock.now()
    used = ApiKey.objects.filter(last_used_at__gte=now - _KEYS_USED_WITHIN, tenant__status=TenantStatus.ACTIVE)
    names = {(shard, pk): name for shard, pk, name in used.values_list("tenant__shard", "tenant_id", "tenant__name")}
    refused = admission.count_refused(tenants=names, within_s=int(_WITHIN.total_seconds()))
    for (shard, pk), name in sorted(names.items(), key=lambda item: -refused.get(item[0][1], 0))[:_MOST_NAMED]:
        number = refused.get(pk, 0)
        if number >= _LEAST and (answered := _answered(pk, now - _WITHIN, most=number + 1)) <= number:
            why = admission.recent(shard=shard, tenant_id=pk, newest=_LOOKED_AT).newest
            yield _Refused(pk, name, number, answered, why)


def _answered(tenant_id: int, since: dt.datetime, *, most: int) -> int:
    """Calls that were let through, counted no further than is needed to tell which are more."""
    return UsageRecord.objects.filter(tenant=tenant_id, occurred_at__gte=since, requests=1).order_by()[:most].count()


def _notice(found: _Refused, keys: Mapping[str, ApiKey]) -> Notice:
    limits = Counter(_tightest(refusal) for refusal in found.why)
    uids = Counter(refusal.key_id for refusal in found.why)
    (limit_id, limit_name), (uid, _) = limits.most_common(1)[0][0], uids.most_common(1)[0]
    key = keys.get(uid)
    calls = found.refused + found.answered
    most = "" if len(limits) == len(uids) == 1 else "mostly "
    text = (
        f"{100 * found.refused / calls:.1f} % of the calls of {found.name} within an hour were refused ({found.refused:,} of "
        f"{calls:,}), {most}by the limit {limit_name} with the key {key.name if key else uid}."
    )
    of_key = [Link("Key", reverse("admin:tenants_apikey_change", args=[key.pk]), "tenants.view_apikey")] if key else []
    return Notice(
        "warning",
        "speed",
        text,
        reverse("admin:tenants_tenant_change", args=[found.tenant_id]),
        "tenants.view_tenant",
        (*_link_of_limit(limit_id), *of_key),
    )


def _tightest(refusal: Refusal) -> tuple[str, str]:
    """The limit that would have kept the call waiting longest: its id without the key's, and its name."""
    limit = max((one for one in refusal.limits if one.refused), key=lambda one: one.wait_s)
    return limit.id.partition(":")[0], limit.name


def _link_of_limit(limit_id: str) -> list[Link]:
    if limit_id == INCLUDED:
        return [Link("Plans", reverse("admin:billing_plan_changelist"), "billing.view_plan")]
    address = reverse("admin:billing_limitrule_change", args=[limit_id.removeprefix("r")])
    return [Link("Limit", address, "billing.view_limitrule")]
