"""Daily usage: the sums of all metered facts, with totals and a chart of what is filtered, and a CSV of it."""

import datetime as dt
from typing import TYPE_CHECKING, Any, Final

from django.db.models import OuterRef, Q, QuerySet, Subquery, Sum
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.safestring import SafeString

from billing.admin import usage_csv, usage_period
from billing.admin.prices import without
from billing.admin.usage_filters import (
    TENANT,
    ApiVersionFilter,
    BoundedPaginator,
    KeyFilter,
    ModelFilter,
    OperationFilter,
    TenantFilter,
)
from billing.admin.usage_period import Period
from billing.metering import reports as usage_reports
from billing.metering.reports import SUMMED, Sums
from billing.models import UsageRollup
from mlplatform.lib import dates
from tenants.admin import charts, formats
from tenants.admin.charts import Column, Series
from tenants.admin.kit import FactsAdmin, display
from tenants.models import ApiKey, Tenant

if TYPE_CHECKING:
    from django.contrib.admin import DateFieldListFilter as RangeDateFilter
    from django.contrib.admin.views.main import ChangeList
else:
    from unfold.contrib.filters.admin import RangeDateFilter
    from unfold.views import ChangeList

_EXPORT: Final = "export"
_MOST_DAYS: Final = 31
_MOST_DAYS_FOUND: Final = 366
_MOST_DAYS_STREAMED: Final = 10 * 366
_STREAMED: Final = "_usage_is_streamed"
_MOST_BARS: Final = 62


def with_key_names(rows: QuerySet[Any]) -> QuerySet[Any]:
    """Each row of usage with ``key_name``; null for a call without a key that still exists."""
    named: QuerySet[Any] = rows.annotate(
        key_name=Subquery(ApiKey.objects.filter(uid=OuterRef("key_uid")).values("name")[:1])
    )
    return named


class _WithinPeriod(ChangeList):
    """The list, and the sums of its days: read once, for totals and chart."""

    period: Period

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[UsageRollup]:
        self.period = usage_period.chosen(request.GET, most_days=most_days(request))
        self.root_queryset = self.root_queryset.filter(day__range=(self.period.first, self.period.last))
        return super().get_queryset(request, exclude_parameters)

    @cached_property
    def days(self) -> dict[dt.date, Sums]:
        """The sums of everything that is filtered, by day; a day without usage is not there."""
        rows = self.queryset.order_by().values("day").annotate(**{f"total_{name}": Sum(name) for name in SUMMED})
        return {row["day"]: Sums(**{name: row[f"total_{name}"] for name in SUMMED}) for row in rows}


def most_days(request: HttpRequest) -> int:
    """Without a tenant or a model, which indexes find, each day more is thousands of rows more to sum. A file is streamed."""
    if getattr(request, _STREAMED, False):
        return _MOST_DAYS_STREAMED
    return _MOST_DAYS_FOUND if any(request.GET.get(name) for name in (TENANT, "model")) else _MOST_DAYS


class UsageDayAdmin(FactsAdmin[UsageRollup]):
    """Registered by the roof, which knows the models."""

    list_display = [
        "on_day", "whose", "key", "what", "api_version", "did", "calls_n", "model_calls_n", "inputs_n", "cached_n",
        "units_n", "saved_n",
    ]  # fmt: skip
    list_filter = [
        ("day", RangeDateFilter),
        ("tenant", TenantFilter),
        KeyFilter,
        ModelFilter,
        ApiVersionFilter,
        OperationFilter,
    ]
    list_select_related = False
    paginator = BoundedPaginator
    show_full_result_count = False
    search_fields = ["key_uid"]  # get_search_results says what is searched; without a field there is no box
    search_help_text = "Name of a tenant, or a key id or model in full"
    list_before_template = "admin/billing/usage_totals.html"
    ordering = ["-day", "-units"]
    list_per_page = 50

    def model_names(self) -> list[str]:
        """Models by which usage can be filtered; the roof knows them."""
        return []

    def get_queryset(self, request: HttpRequest) -> QuerySet[UsageRollup]:
        return with_key_names(super().get_queryset(request)).prefetch_related("tenant")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[UsageRollup], search_term: str
    ) -> tuple[QuerySet[UsageRollup], bool]:
        """Tenants are found by name among the tenants, so that no text is looked for in a million rows of usage."""
        words = search_term.split()
        for word in words:
            tenants = Tenant.objects.filter(Q(name__icontains=word) | Q(slug__icontains=word)).values("pk")
            queryset = queryset.filter(Q(tenant__in=tenants) | Q(key_uid=word) | Q(model=word))
        return queryset, False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return _WithinPeriod

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        export = request.GET.get(_EXPORT) == "csv"
        request.GET = without(request.GET, _EXPORT)  # type: ignore[assignment]  # Django's list refuses what it does not know
        if export and self.has_view_permission(request):
            setattr(request, _STREAMED, True)
            return usage_csv.answer(self.get_changelist_instance(request).get_queryset(request))
        response = super().changelist_view(request, extra_context)
        context = getattr(response, "context_data", None)
        if context is not None and "cl" in context:
            context |= _summary(request, context["cl"])
        return response

    @display(description="Day", ordering="day")
    def on_day(self, row: UsageRollup) -> str:
        return dates.day(row.day)

    @display(description="Operation", ordering="operation")
    def did(self, row: UsageRollup) -> str:
        return row.operation

    @display(description="Tenant")
    def whose(self, row: UsageRollup) -> str:
        """Not the field itself, for which Django's list would join the tenants."""
        return row.tenant.name

    @display(description="Key", ordering="key_uid")
    def key(self, row: UsageRollup) -> str:
        return row.key_name or row.key_uid  # type: ignore[attr-defined]  # annotated by with_key_names

    @display(description="Model", ordering="model")
    def what(self, row: UsageRollup) -> str:
        return usage_reports.named(row.model)

    @display(description="Calls of the model", ordering="model_calls")
    def model_calls_n(self, row: UsageRollup) -> str:
        return formats.number(row.model_calls)

    @display(description="Calls", ordering="calls")
    def calls_n(self, row: UsageRollup) -> str:
        return formats.number(row.calls)

    @display(description="Inputs", ordering="inputs")
    def inputs_n(self, row: UsageRollup) -> str:
        return formats.number(row.inputs)

    @display(description="Cached", ordering="cached_inputs")
    def cached_n(self, row: UsageRollup) -> str:
        return formats.number(row.cached_inputs)

    @display(description="Units", ordering="units")
    def units_n(self, row: UsageRollup) -> str:
        return formats.number(row.units)

    @display(description="Saved", ordering="saved_units")
    def saved_n(self, row: UsageRollup) -> str:
        return formats.number(row.saved_units)


def _summary(request: HttpRequest, shown: _WithinPeriod) -> dict[str, Any]:
    """What stands above the list: the period, totals, and the chart."""
    total = Sums.of(list(shown.days.values()))
    export = request.GET.copy()
    export[_EXPORT] = "csv"
    period = shown.period
    return {
        "period": period,
        "presets": usage_period.presets(request.GET, period, most_days=most_days(request)),
        "most_days": most_days(request),
        "each": "day" if period.days <= _MOST_BARS else "week",
        "totals": {name: f"{getattr(total, name):,}" for name in SUMMED}
        | {"hit_ratio": formats.share(total.cached_inputs, total.inputs)},
        "chart": _chart(request, shown),
        "csv_query": export.urlencode(),
    }


def _chart(request: HttpRequest, shown: _WithinPeriod) -> SafeString:
    """Units a day, or a week where there are many days; a bar leads to its days."""
    step = 1 if shown.period.days <= _MOST_BARS else 7
    columns = []
    for first, last in shown.period.parts(step):
        link = request.GET.copy()
        link.pop("p", None)
        link[usage_period.FROM], link[usage_period.TO] = first.isoformat(), last.isoformat()
        units = sum(sums.units for day, sums in shown.days.items() if first <= day <= last)
        columns.append(Column(Period(first, last).title, f"{first.day} {first:%b}", (units,), f"?{link.urlencode()}"))
    each = "day" if step == 1 else "week"
    return charts.stacked(columns, [Series("units", "plain")], label=f"Units a {each}, {shown.period.title}")
