"""Usage records: each metered fact by itself, to answer what one call cost."""

from typing import TYPE_CHECKING

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from billing.admin.find_call import FindCallPage
from billing.admin.usage_days import with_key_names
from billing.metering import reports as usage_reports
from billing.models import UsageRecord
from mlplatform.lib import dates
from tenants.admin import formats
from tenants.admin.kit import display

if TYPE_CHECKING:
    from django.contrib.admin import (
        DateFieldListFilter as RangeDateTimeFilter,
    )
    from django.contrib.admin import (
        RelatedFieldListFilter as RelatedDropdownFilter,
    )
else:
    from unfold.contrib.filters.admin import RangeDateTimeFilter, RelatedDropdownFilter


@admin.register(UsageRecord)
class UsageRecordAdmin(FindCallPage):
    list_display = [
        "when",
        "tenant",
        "key",
        "what",
        "api_version",
        "inputs",
        "answered",
        "units_n",
        "request_id",
    ]
    # The table grows without end, so nothing here counts or lists its distinct values.
    list_filter = [
        ("occurred_at", RangeDateTimeFilter),
        ("tenant", RelatedDropdownFilter),
        "cached",
    ]
    list_select_related = ["tenant"]
    search_fields = ["=request_id", "=id", "=key_uid"]
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

    def get_queryset(self, request: HttpRequest) -> QuerySet[UsageRecord]:
        return with_key_names(super().get_queryset(request))

    @display(description="When", ordering="occurred_at")
    def when(self, record: UsageRecord) -> SafeString:
        return formats.age(record.occurred_at)

    @display(description="When")
    def when_exactly(self, record: UsageRecord) -> str:
        return dates.exactly(record.occurred_at)

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

    @display(description="Units", ordering="units")
    def units_n(self, record: UsageRecord) -> SafeString:
        return formats.number(record.units)
