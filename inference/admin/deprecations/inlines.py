"""Brownouts and extensions below the form of their schedule; each row is asked of the services, and keeps who made it."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from mlplatform.lib import clock
from tenants.admin import formats
from tenants.admin.kit import StaffTabularInline, display
from tenants.deprecations import schedules
from tenants.models import Brownout, Extension

if TYPE_CHECKING:
    _Formset = forms.BaseInlineFormSet[Any, Any, Any]
else:
    _Formset = forms.BaseInlineFormSet


def check_brownout(row: Brownout, *, before: Brownout | None) -> None:
    """Raises ValidationError: what the service says, and that nothing which has begun is rewritten."""
    now = clock.now()
    if before is not None and before.ends_at <= now:
        raise ValidationError("This brownout is over; it stays as it was.")
    moved = before is None or before.starts_at != row.starts_at
    if moved and row.starts_at < now:
        raise ValidationError({"starts_at": "A brownout starts in the future."})
    schedules.validate_brownout(row)


class _CheckedFormset(_Formset):
    """Every row that was changed is checked against the schedule as it will be saved, not as it was read."""

    def clean(self) -> None:
        super().clean()
        for form in self.forms:
            if form.has_changed() and form.is_valid():
                form.instance.schedule = self.instance
                try:
                    self.check_row(form.instance)
                except ValidationError as error:
                    form.add_error(None, error)

    def check_row(self, row: Any) -> None:
        """Raises ValidationError."""


class BrownoutFormset(_CheckedFormset):
    def check_row(self, row: Brownout) -> None:
        check_brownout(row, before=Brownout.objects.filter(pk=row.pk).first())


class ExtensionFormset(_CheckedFormset):
    def check_row(self, row: Extension) -> None:
        schedules.validate_extension(row)


class BrownoutInline(StaffTabularInline):
    """Planned windows in which a share of all calls fails."""

    model = Brownout
    formset = BrownoutFormset
    verbose_name_plural = "brownouts of all tenants"
    fields = ["starts_at", "ends_at", "share", "now"]
    readonly_fields = ["now"]
    can_delete = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).filter(tenant__isnull=True)

    @display(description="Now")
    def now(self, row: Brownout) -> SafeString | str:
        now = clock.now()
        if row._state.adding:
            return "–"
        if row.ends_at <= now:
            return formats.badge("Over", "neutral")
        address = reverse("admin:tenants_deprecationschedule_stop_brownout", args=[row.schedule_id, row.pk])
        begun = row.starts_at <= now
        badge = formats.badge("Running", "danger") if begun else formats.badge("Planned", "info")
        return format_html('{} <a class="p-link" href="{}">{}</a>', badge, address, "Stop" if begun else "Call off")


class RehearsalInline(StaffTabularInline):
    """Brownouts that tenant admins rehearsed on their own calls: to be read."""

    model = Brownout
    verbose_name_plural = "brownouts that tenants rehearsed"
    fields = ("tenant", "starts_at", "ends_at", "share", "created_by")
    readonly_fields = fields
    can_delete = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).filter(tenant__isnull=False).select_related("tenant", "created_by")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ExtensionInline(StaffTabularInline):
    """A later sunset for single tenants; to save one is to approve it."""

    model = Extension
    formset = ExtensionFormset
    fields = ["tenant", "until", "reason", "approved_by"]
    readonly_fields = ["approved_by"]
    autocomplete_fields = ["tenant"]
    can_delete = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("tenant", "approved_by")

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and db_field.name == "reason":
            field.widget.attrs["rows"] = 2
        return field
