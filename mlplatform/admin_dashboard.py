"""The start page of the admin: what happens now, and what needs attention. A part that cannot be known says so."""

import datetime as dt
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from auditlog.models import LogEntry
from django.db.models import Sum
from django.http import HttpRequest
from django.urls import reverse

from billing.admin.tenant_columns import with_contract
from billing.models import UsageRollup
from inference.fleet import workers
from mlplatform import attention
from mlplatform.lib import clock, redis
from mlplatform.observability import traffic
from tenants.models import Tenant, User

T = TypeVar("T")

DAYS: Final = 14
_TOP: Final = 6
_RECENT: Final = 6
UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True)
class Figure:
    """One number on a card: ``note`` explains it, ``tone`` colours it when it is bad."""

    title: str
    value: str
    note: str
    icon: str
    tone: str = ""
    link: str = ""


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Unfold's callback: what ``templates/admin/index.html`` shows, as far as this person may see it."""
    user = request.user
    if not isinstance(user, User):
        return context
    usage = user.has_perm("billing.view_usagerollup")
    days = units_per_day() if usage else {}
    return context | {
        "figures": figures(days if usage else None),
        "notices": attention.notices(user),
        "units_chart": _bars(days, "Units") if usage else "",
        "hours_chart": _hours_chart(),
        "chart_options": json.dumps(_CHART_OPTIONS),
        "units_total": f"{sum(days.values()):,}",
        "days": DAYS,
        "top_tenants": top_tenants() if usage and user.has_perm("tenants.view_tenant") else None,
        "workers": _known(workers.alive),
        "recent": recent_changes() if user.has_perm("auditlog.view_logentry") else None,
    }


def figures(days: dict[dt.date, int] | None) -> list[Figure]:
    """The cards along the top; without ``days`` the one about units is left out."""
    shown = [*_traffic_figures()]
    if days is not None:
        shown.append(_units_figure(days))
    return [*shown, _queue_figure(), _workers_figure()]


def _traffic_figures() -> list[Figure]:
    counted = _known(traffic.today)
    if counted is None:
        return [
            Figure("Requests today", UNKNOWN, "The state Redis does not answer", "swap_vert", "danger"),
            Figure("Error rate", UNKNOWN, "The state Redis does not answer", "error", "danger"),
        ]
    rate = counted.error_rate
    refused = counted.client_errors / counted.requests if counted.requests else 0.0
    tone = "danger" if rate >= 0.01 else "warning" if rate > 0.001 else ""
    return [
        Figure("Requests today", f"{counted.requests:,}", f"{refused:.1%} refused (4xx)", "swap_vert"),
        Figure("Error rate", f"{rate:.2%}", f"{counted.server_errors:,} server errors (5xx)", "error", tone),
    ]


def _units_figure(days: dict[dt.date, int]) -> Figure:
    today, yesterday = list(days.values())[-1], list(days.values())[-2]
    link = reverse("admin:billing_usagerollup_changelist")
    return Figure("Units today", f"{today:,}", f"{yesterday:,} yesterday", "toll", link=link)


def _queue_figure() -> Figure:
    depths = _known(_depths)
    if depths is None:
        return Figure("Waiting", UNKNOWN, "The state Redis does not answer", "stacks", "danger")
    note = ", ".join(f"{depth:,} in {queue}" for queue, depth in depths.items())
    return Figure("Waiting", f"{sum(depths.values()):,}", note, "stacks")


def _depths() -> dict[str, int]:
    pools = (pool for info in workers.alive() for pool in info.pools)
    return workers.queue_depths(sorted({*workers.QUEUES, *pools}))


def _workers_figure() -> Figure:
    alive = _known(workers.alive)
    if alive is None:
        return Figure("Workers alive", UNKNOWN, "The state Redis does not answer", "memory", "danger")
    gpu = sum(1 for info in alive if info.computes)
    note = f"{gpu} for models, {len(alive) - gpu} for jobs"
    return Figure("Workers alive", str(len(alive)), note, "memory", "" if gpu else "danger")


def units_per_day() -> dict[dt.date, int]:
    """Units of all tenants on each of the last 14 days (UTC), today last; a day without usage is 0."""
    today = clock.now().date()
    days = [today - dt.timedelta(days=back) for back in range(DAYS - 1, -1, -1)]
    rows = UsageRollup.objects.filter(day__gte=days[0]).order_by().values_list("day").annotate(total=Sum("units"))
    found: dict[dt.date, int] = dict(rows)
    return {day: found.get(day, 0) for day in days}


@dataclass(frozen=True, slots=True)
class TopTenant:
    name: str
    plan: str
    units: str
    share: int
    percent_of_included: int | None
    link: str

    @property
    def tone(self) -> str:
        """The colour of the bar."""
        percent = self.percent_of_included or 0
        return "danger" if percent >= 100 else "warning" if percent >= 80 else "ok"

    @property
    def meter(self) -> int:
        """The filled part of the bar, 0 to 100."""
        return min(self.percent_of_included or 0, 100)


def top_tenants() -> list[TopTenant]:
    """The tenants with the most units this month, with their share of all units."""
    month = clock.now().date().replace(day=1)
    total = UsageRollup.objects.filter(day__gte=month).aggregate(total=Sum("units"))["total"] or 0
    rows = with_contract(Tenant.objects.all()).filter(units_month__gt=0).order_by("-units_month")[:_TOP]
    return [
        TopTenant(
            name=row.name,
            plan=row.plan_name or "no plan",  # annotated by with_contract, as are the next two
            units=f"{row.units_month:,}",
            share=round(100 * row.units_month / total),
            percent_of_included=round(100 * row.units_month / row.plan_units) if row.plan_units else None,
            link=reverse("admin:tenants_tenant_change", args=[row.pk]),
        )
        for row in rows
    ]


def recent_changes() -> list[LogEntry]:
    """What was changed last, by whom."""
    return list(LogEntry.objects.select_related("actor", "content_type").order_by("-timestamp")[:_RECENT])


def _known(ask: Callable[[], T]) -> T | None:
    """The answer of Redis, or None when it gives none: the page is shown without it."""
    try:
        return ask()
    except redis.FAILURES:
        return None


def _bars(days: dict[dt.date, int], label: str) -> str:
    colours = ["var(--color-primary-300)"] * (len(days) - 1) + ["var(--color-primary-600)"]
    return _chart([f"{day:%d %b}" for day in days], list(days.values()), label, colours)


def _hours_chart() -> str:
    counted = _known(traffic.today)
    if counted is None:
        return ""
    hours = [f"{hour:02}:00" for hour in range(len(counted.per_hour))]
    return _chart(hours, list(counted.per_hour), "Requests", ["var(--color-primary-300)"] * len(hours))


def _chart(labels: list[str], values: list[int], label: str, colours: list[str]) -> str:
    bars = {"label": label, "data": values, "backgroundColor": colours, "borderRadius": 4, "maxBarThickness": 28}
    return json.dumps({"labels": labels, "datasets": [bars]})


_CHART_OPTIONS: Final = {
    "animation": False,
    "maintainAspectRatio": False,
    "plugins": {"legend": {"display": False}, "tooltip": {"displayColors": False}},
    "scales": {
        "x": {
            "border": {"display": False},
            "grid": {"display": False},
            "ticks": {"color": "#9ca3af", "maxRotation": 0, "autoSkip": True},
        },
        "y": {
            "beginAtZero": True,
            "border": {"display": False},
            "grid": {"drawTicks": False},
            "ticks": {"color": "#9ca3af", "maxTicksLimit": 5, "precision": 0, "padding": 8},
        },
    },
}
