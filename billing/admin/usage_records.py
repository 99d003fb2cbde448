"""Usage records: each metered fact by itself, to answer what one call cost."""

import datetime as dt
from typing import TYPE_CHECKING, Any, Final

from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from billing.admin.find_call import FindCallPage
from billing.admin.usage_days import with_key_names
from billing.admin.usage_filters import (
    MOST_COUNTED,
    ApiVersionFilter,
    BoundedPaginator,
    KeyFilter,
    ModelFilter,
    TenantFilter,
)
from billing.metering import reports as usage_reports
from billing.models import UsageRecord
from mlplatform.lib import clock, dates
from tenants.admin import formats
from tenants.admin.kit import display

if TYPE_CHECKING:
    from django.contrib.admin import DateFieldListFilter as RangeDateTimeFilter
    from django.contrib.admin.views.main import ChangeList
else:
    from unfold.contrib.filters.admin import RangeDateTimeFilter
    from unfold.views import ChangeList

DAYS: Final = 31
_BOUNDS: Final = ("q", "tenant__id__exact", "key_uid", "model", "occurred_at_from_0", "occurred_at_to_0")
"""What an index serves, or a period of the person's own; without any of these the list begins a month ago."""


class _Newest(ChangeList):
    """The list as far back as it can be read at once."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[UsageRecord]:
        if not any(request.GET.get(name) for name in _BOUNDS):
            self.root_queryset = self.root_queryset.filter(occurred_at__gte=clock.now() - dt.timedelta(days=DAYS))
            self.days = DAYS
        return super().get_queryset(request, exclude_parameters)

    @property
    def is_cut(self) -> bool:
        """Whether there are more rows than are counted."""
        return bool(self.result_count >= MOST_COUNTED)


class UsageRecordAdmin(FindCallPage):
    """Registered by the roof, which knows the models."""

    list_display = [
        "when",
        "whose",
        "key",
        "what",
        "api_version",
        "inputs_n",
        "answered",
        "units_n",
        "request_id",
    ]
    # The table grows without end, so nothing here counts it or lists its distinct values.
    list_filter = [
        ("occurred_at", RangeDateTimeFilter),
        ("tenant", TenantFilter),
        KeyFilter,
        ModelFilter,
        ApiVersionFilter,
        "cached",
    ]
    list_before_template = "admin/billing/records_shown.html"
    list_select_related = False
    paginator = BoundedPaginator
    sortable_by = ("when",)  # by anything else millions of rows would be sorted
    search_fields = ["request_id"]  # get_search_results says what is searched; without a field there is no box
    search_help_text = "A request id, the id of a record, or a key id, in full"
    show_full_result_count = False
    ordering = ["-occurred_at"]
    fields = (
        "when_exactly",
        "tenant",
        "key",
        "key_uid",
        "request_id",
        "operation",
        "model",
        "model_version",
        "api_version",
        "inputs",
        "requests",
        "model_requests",
        "version_requests",
        "cached",
        "units",
        "client",
        "id",
        "taken_back",
    )
    readonly_fields = fields

    def model_names(self) -> list[str]:
        """Models by which records can be filtered; the roof knows them."""
        return []

    def get_queryset(self, request: HttpRequest) -> QuerySet[UsageRecord]:
        # Tenants are fetched for the page alone: joined to them, SQLite begins with the tenants and sorts all records.
        return with_key_names(super().get_queryset(request)).prefetch_related("tenant")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[UsageRecord], search_term: str
    ) -> tuple[QuerySet[UsageRecord], bool]:
        """Exactly, as indexes find it: Django's own search ignores case, which reads every record."""
        term = search_term.strip()
        found = Q(request_id=term) | Q(pk=term) | Q(key_uid=term)
        return (queryset.filter(found) if term else queryset), False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return _Newest

    @display(description="When", ordering="occurred_at")
    def when(self, record: UsageRecord) -> SafeString:
        return formats.age(record.occurred_at)

    @display(description="When")
    def when_exactly(self, record: UsageRecord) -> str:
        return dates.exactly(record.occurred_at)

    @display(description="Tenant")
    def whose(self, record: UsageRecord) -> str:
        """Not the field itself, for which Django's list would join the tenants."""
        return record.tenant.name

    @display(description="Key", ordering="key_uid")
    def key(self, record: UsageRecord) -> str:
        return record.key_name or record.key_uid  # type: ignore[attr-defined]  # annotated by with_key_names

    @display(description="What", ordering="model", header=True)
    def what(self, record: UsageRecord) -> list[str]:
        version = f"@{record.model_version}" if record.model_version else ""
        return [f"{record.model}{version}" if record.model else usage_reports.NO_MODEL, record.operation]

    @display(description="Answered", ordering="cached")
    def answered(self, record: UsageRecord) -> SafeString:
        if record.voids_id is not None:
            return formats.badge("taken back", "warning")
        return formats.badge("from cache", "neutral") if record.cached else formats.badge("computed", "info")

    @display(description="Taken back")
    def taken_back(self, record: UsageRecord) -> str:
        """Both of a pair name each other: the call was told that nothing was charged, so the second takes the first back."""
        if record.voids_id is not None:
            return f"this takes {record.voids_id} back: the call was told that nothing was charged"
        by = UsageRecord.objects.filter(voids=record).values_list("pk", flat=True).first()
        return f"by {by}" if by else "no"

    @display(description="Inputs", ordering="inputs")
    def inputs_n(self, record: UsageRecord) -> SafeString:
        return formats.number(record.inputs)

    @display(description="Units", ordering="units")
    def units_n(self, record: UsageRecord) -> SafeString:
        return formats.number(record.units)
