"""What billing adds to the page of a tenant: its plan, units against included, calls, limits now and refusals."""

from typing import Any

from django.db.models import Sum
from django.http import HttpRequest
from django.urls import reverse

from billing import customer_view
from billing.admin.find_call import find_url
from billing.customer_view import RefusedCalls
from billing.models import Subscription, UsageRollup
from mlplatform.lib import clock, dates
from tenants.admin import formats
from tenants.admin.tenant_page import End, Figure
from tenants.models import Tenant

_UNKNOWN = "unknown"


def extended(found: dict[str, Any], request: HttpRequest, tenant: Tenant) -> dict[str, Any]:
    """The overview with what this floor knows; ``tenant`` is annotated by ``with_contract``."""
    user = request.user
    figures, ends = [], list(found["ends"])
    if user.has_perm("billing.view_subscription"):
        now = clock.now()
        rows = list(Subscription.objects.filter(tenant=tenant).select_related("plan").order_by("-starts_at")[:10])
        figures.append(_plan(next((row for row in rows if row.starts_at <= now), None)))
        ends += [End(row.starts_at, f"The plan {row.plan.name} begins") for row in rows if row.starts_at > now]
    if user.has_perm("billing.view_usagerollup"):
        refusals = customer_view.refusals_of_tenant(tenant)
        figures += [_units(tenant), _calls_today(tenant), _refused(refusals)]
        found |= {
            "limits": customer_view.limits_of_tenant(tenant),
            "refusals": refusals,
            "find_url": find_url(),
            "shows_limits": True,
        }
    return {**found, "figures": [*figures, *found["figures"]], "ends": ends}


def _plan(running: Subscription | None) -> Figure:
    if running is None:
        return Figure("Plan", "None", "every call that costs is refused", "sell", "danger")
    fee = f"{running.plan.monthly_fee:,.2f} {running.plan.currency} a month"
    return Figure("Plan", running.plan.name, f"since {dates.day(running.starts_at)}, {fee}", "sell")


def _units(tenant: Tenant) -> Figure:
    used: int = tenant.units_month  # type: ignore[attr-defined]  # annotated by with_contract
    included: int | None = tenant.plan_units  # type: ignore[attr-defined]  # annotated by with_contract
    title = f"Units, {clock.now():%b}"
    link = f"{reverse('admin:billing_usagerollup_changelist')}?tenant__id__exact={tenant.pk}"
    if not included:
        return Figure(title, f"{used:,}", "none is included", "toll", link=link)
    percent = round(100 * used / included)
    tone = "danger" if percent >= 100 else "warning" if percent >= 80 else ""
    note = f"{formats.share(used, included)} of {included:,} included"
    return Figure(title, f"{used:,}", note, "toll", tone, link, percent=min(100, percent))


def _calls_today(tenant: Tenant) -> Figure:
    sums = UsageRollup.objects.filter(tenant=tenant, day=clock.now().date()).aggregate(
        calls=Sum("calls", default=0), inputs=Sum("inputs", default=0), cached=Sum("cached_inputs", default=0)
    )
    note = f"{formats.share(sums['cached'], sums['inputs'])} of inputs cached" if sums["inputs"] else "UTC, answered"
    return Figure("Calls today", f"{sums['calls']:,}", note, "swap_vert")


def _refused(refusals: RefusedCalls | None) -> Figure:
    if refusals is None:
        return Figure("Refused, 24 h", _UNKNOWN, "the state Redis does not answer", "speed", "danger")
    last = refusals.newest[0] if refusals.newest else None
    note = f"last by {last.refused_by}, {formats.words(last.at)}" if last else "by its limits"
    return Figure("Refused, 24 h", f"{refusals.count:,}", note, "speed", "warning" if refusals.count else "")
