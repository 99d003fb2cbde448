"""The start page of the admin: what happens now, and what needs attention. A part that cannot be known says so."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nlargest
from typing import Any, Final

from django.db.models import Sum
from django.http import HttpRequest
from django.urls import reverse
from django.utils.safestring import SafeString

from billing.admin import contract_month
from billing.admin.contract_month import ContractMonth
from billing.models import UsageRollup
from inference.fleet import workers
from mlplatform import admin_figures, attention, traffic_page
from mlplatform.admin_figures import known
from mlplatform.lib import clock, dates
from mlplatform.observability import traffic
from mlplatform.recent_changes import recent_changes
from tenants.admin import charts
from tenants.admin.charts import Column, Series
from tenants.models import User

DAYS: Final = 14
_TOP: Final = 6


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Unfold's callback: what ``templates/admin/index.html`` shows, as far as this person may see it."""
    user = request.user
    if not isinstance(user, User):
        return context
    usage = user.has_perm("billing.view_usagerollup")
    days = units_per_day() if usage else {}
    months = contract_month.of_all_tenants()
    return context | {
        "outcomes": admin_figures.of_traffic(),
        "figures": [*([admin_figures.of_units(days)] if usage else []), *admin_figures.of_fleet(user)],
        "notices": attention.notices(user, months),
        "units_chart": _units_chart(days) if usage else None,
        "hours_chart": _hours_chart(),
        "units_total": f"{sum(days.values()):,}",
        "days": DAYS,
        "top_tenants": top_tenants(months) if usage and user.has_perm("tenants.view_tenant") else None,
        "workers": known(workers.alive),
        "recent": recent_changes() if user.has_perm("auditlog.view_logentry") else None,
    }


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
    def percent(self) -> str:
        return f"{self.percent_of_included or 0:,} %"

    @property
    def meter(self) -> int:
        """The filled part of the bar, 0 to 100."""
        return min(self.percent_of_included or 0, 100)


def top_tenants(months: Sequence[ContractMonth]) -> list[TopTenant]:
    """The tenants with the most units this month, with their share of all units."""
    total = sum(one.units for one in months)
    return [
        TopTenant(
            name=one.name,
            plan=one.plan or "no plan",
            units=f"{one.units:,}",
            share=round(100 * one.units / total),
            percent_of_included=one.percent,
            link=reverse("admin:tenants_tenant_change", args=[one.tenant_id]),
        )
        for one in nlargest(_TOP, (one for one in months if one.units > 0), key=lambda one: one.units)
    ]


def _units_chart(days: dict[dt.date, int]) -> SafeString:
    page = reverse("admin:billing_usagerollup_changelist")
    columns = [
        Column(dates.day(day), f"{day.day} {day:%b}", (units,), f"{page}?day_from={day}&day_to={day}")
        for day, units in days.items()
    ]
    return charts.stacked(columns, [Series("units", "plain")], label=f"Units on each of the last {DAYS} days")


def _hours_chart() -> SafeString | None:
    found = known(traffic.today)
    if found is None:
        return None
    return traffic_page.chart(
        found, label="Calls in each hour of today, by how they ended", link=traffic_page.address()
    )
