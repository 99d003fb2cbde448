"""The page "Traffic": how the calls of a day ended, hour by hour, as a chart and as a table."""

import datetime as dt
from dataclasses import dataclass
from typing import Final

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import SafeString

from mlplatform.lib import clock, dates, redis
from mlplatform.observability import traffic
from mlplatform.observability.traffic import Counts, Traffic
from tenants.admin import charts
from tenants.admin.charts import Column, Series

TITLE: Final = "Traffic"

SERIES: Final = (
    Series("answered", "good"),
    Series("refused", "soft"),
    Series("over a limit", "wait"),
    Series("failed", "bad"),
    Series("in a brownout", "planned"),
)
"""In the order of :class:`Counts`."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: an hour, or the day as a whole."""

    title: str
    counts: Counts

    @property
    def cells(self) -> list[str]:
        """As the columns of the table have them."""
        one = self.counts
        numbers = [f"{n:,}" for n in (one.requests, one.answered, one.refused, one.over_limit, one.failed)]
        return [*numbers, f"{100 * one.error_rate:.2f} %" if one.requests else "–", f"{one.brownouts:,}"]


def address(day: dt.date | None = None) -> str:
    """The page, of today where no day is given."""
    page = reverse("traffic")
    return page if day is None else f"{page}?day={day.isoformat()}"


def traffic_page(request: HttpRequest) -> HttpResponse:
    """One of the days whose counts are kept, by default today. Any staff may see it: it names no customer."""
    today = clock.now().date()
    days = [today - dt.timedelta(days=back) for back in range(traffic.DAYS_KEPT)]
    day = next((one for one in days if one.isoformat() == request.GET.get("day")), today)
    context = {**admin.site.each_context(request), "title": TITLE, "day": dates.day(day), "known": False}
    context["days"] = [(dates.day(one), address(one), one == day) for one in days]
    try:
        found = traffic.of_day(day)
    except redis.FAILURES:
        return TemplateResponse(request, "admin/traffic.html", context)
    last = clock.now().hour if day == today else 23
    rows = [Row(hour_title(hour), found.per_hour[hour]) for hour in range(last, -1, -1)]
    context |= {
        "known": True,
        "total": Row("All", found.total),
        "rows": [row for row in rows if row.counts.requests],
        "chart": chart(found, label=f"Calls in each hour of {dates.day(day)}, by how they ended"),
    }
    return TemplateResponse(request, "admin/traffic.html", context)


def chart(found: Traffic, *, label: str, link: str = "") -> SafeString:
    """The hours of a day as stacked bars."""
    columns = [
        Column(
            hour_title(hour),
            f"{hour:02}",
            (one.answered, one.refused, one.over_limit, one.failed, one.brownouts),
            link,
        )
        for hour, one in enumerate(found.per_hour)
    ]
    return charts.stacked(columns, SERIES, label=label)


def hour_title(hour: int) -> str:
    return f"{hour:02}:00–{(hour + 1) % 24:02}:00"
