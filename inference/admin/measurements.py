"""What was measured of a version, below its form: to be read."""

from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from inference.models import Measurement
from tenants.admin import formats
from tenants.admin.kit import StaffTabularInline, display


class MeasurementInline(StaffTabularInline):
    """Accuracy beside speed in each option; `manage.py measure_model` writes it."""

    model = Measurement
    verbose_name_plural = "measured options"
    fields = ("option", "computed_by", "right", "speed", "alone", "when")
    readonly_fields = fields
    can_delete = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("version__model__owner")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # A measurement is part of what is known of a version, and is shown with it.
        return request.user.has_perm("inference.view_modelversion")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @display(description="Precision, acceleration")
    def option(self, row: Measurement) -> SafeString:
        own = (row.precision, row.acceleration) == (row.version.precision, row.version.acceleration)
        badge = formats.badge("serves so", "info") if own else ""
        return format_html("{}, {} {}", row.precision, row.acceleration, badge)

    @display(description="Device")
    def computed_by(self, row: Measurement) -> str:
        return f"{row.device}, {row.threads} thread{'' if row.threads == 1 else 's'}"

    @display(description="Accuracy")
    def right(self, row: Measurement) -> SafeString:
        return format_html(
            '<span class="p-number">{} %</span><span class="p-note">{} inputs of {}</span>',
            f"{row.accuracy:.2%}"[:-1],
            f"{row.inputs:,}",
            row.data,
        )

    @display(description="Inputs/s")
    def speed(self, row: Measurement) -> SafeString:
        return format_html('<span class="p-number">{}</span>', f"{row.inputs_per_s:,.1f}")

    @display(description="ms alone")
    def alone(self, row: Measurement) -> SafeString:
        return format_html('<span class="p-number">{}</span>', f"{row.alone_ms:,.2f}")

    @display(description="When")
    def when(self, row: Measurement) -> SafeString:
        return formats.age(row.measured_at)
