"""Daily usage: the sums of all metered facts, with a total over what is filtered and a CSV of it."""

import csv
import datetime as dt
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery, Sum
from django.http import HttpRequest, StreamingHttpResponse

from billing.admin.prices import without
from billing.metering import reports as usage_reports
from billing.metering.reports import SUMMED
from billing.models import UsageRollup
from tenants.admin import formats
from tenants.admin.kit import FactsAdmin, display
from tenants.models import ApiKey

if TYPE_CHECKING:
    from django.contrib.admin import (
        AllValuesFieldListFilter as AllValuesCheckboxFilter,
    )
    from django.contrib.admin import (
        DateFieldListFilter as RangeDateFilter,
    )
    from django.contrib.admin import (
        RelatedFieldListFilter as MultipleRelatedDropdownFilter,
    )
else:
    from unfold.contrib.filters.admin import (
        AllValuesCheckboxFilter,
        MultipleRelatedDropdownFilter,
        RangeDateFilter,
    )

_EXPORT: Final = "export"
_COLUMNS: Final = (
    "day",
    "tenant",
    "key",
    "key_name",
    "model",
    "api_version",
    "operation",
    "calls",
    "calls_of_model",
    "inputs",
    "cached_inputs",
    "units",
    "saved_units",
)


def with_key_names(rows: QuerySet[Any]) -> QuerySet[Any]:
    """Each row of usage with ``key_name``; null for a call without a key that still exists."""
    named: QuerySet[Any] = rows.annotate(
        key_name=Subquery(ApiKey.objects.filter(uid=OuterRef("key_uid")).values("name")[:1])
    )
    return named


@admin.register(UsageRollup)
class UsageDayAdmin(FactsAdmin[UsageRollup]):
    list_display = [
        "day", "tenant", "key", "what", "api_version", "operation", "calls_n", "model_calls_n", "inputs_n", "cached_n",
        "units_n", "saved_n",
    ]  # fmt: skip
    list_filter = [
        ("day", RangeDateFilter),
        ("tenant", MultipleRelatedDropdownFilter),
        ("model", AllValuesCheckboxFilter),
        ("api_version", AllValuesCheckboxFilter),
        ("operation", AllValuesCheckboxFilter),
    ]
    list_select_related = ["tenant"]
    search_fields = ["tenant__name", "tenant__slug", "key_uid", "model"]
    search_help_text = "Tenant, key id or model"
    list_before_template = "admin/billing/usage_totals.html"
    ordering = ["-day", "-units"]
    list_per_page = 100

    def get_queryset(self, request: HttpRequest) -> QuerySet[UsageRollup]:
        return with_key_names(super().get_queryset(request))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        export = request.GET.get(_EXPORT) == "csv"
        request.GET = without(request.GET, _EXPORT)  # type: ignore[assignment]  # Django's list refuses what it does not know
        if export and self.has_view_permission(request):
            return _csv_answer(self.get_changelist_instance(request).get_queryset(request))
        response = super().changelist_view(request, extra_context)
        context = getattr(response, "context_data", None)
        if context is not None and "cl" in context:
            sums = {name: Sum(name) for name in SUMMED}
            totals = context["cl"].queryset.order_by().aggregate(**sums)
            query = request.GET.copy()
            query[_EXPORT] = "csv"
            context |= {
                "totals": {name: f"{value or 0:,}" for name, value in totals.items()}
                | {"hit_ratio": formats.share(totals["cached_inputs"] or 0, totals["inputs"] or 0)},
                "csv_query": query.urlencode(),
            }
        return response

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


def _csv_answer(rows: QuerySet[UsageRollup]) -> StreamingHttpResponse:
    response = StreamingHttpResponse(_csv_lines(rows), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="usage-{dt.datetime.now(dt.UTC):%Y-%m-%d}.csv"'
    return response


def _csv_lines(rows: QuerySet[UsageRollup]) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(_COLUMNS)
    for row in rows.iterator(chunk_size=1000):
        key_name = row.key_name or ""  # type: ignore[attr-defined]  # annotated by with_key_names
        names = [row.tenant.slug, row.key_uid, key_name, usage_reports.named(row.model), row.api_version, row.operation]
        writer.writerow(
            [
                row.day.isoformat(),
                *map(_harmless, names),
                row.calls,
                row.model_calls,
                row.inputs,
                row.cached_inputs,
                row.units,
                row.saved_units,
            ]
        )
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()


def _harmless(text: str) -> str:
    """Spreadsheets run a cell that begins like a formula, and customers choose the names of their keys."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
