"""Brownouts and extensions below the form of their schedule; a new extension is asked of the services, and keeps who made it."""

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from inference.admin.deprecations import states
from mlplatform.lib import clock
from tenants.admin.kit import StaffTabularInline, display
from tenants.deprecations import schedules
from tenants.models import Brownout, Extension

if TYPE_CHECKING:
    from django import forms

    _Formset = forms.BaseInlineFormSet[Any, Any, Any]
else:
    from unfold.forms import PaginationInlineFormSet as _Formset


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


class ExtensionFormset(_CheckedFormset):
    def check_row(self, row: Extension) -> None:
        schedules.validate_extension(row)


class _Read(StaffTabularInline):
    """Rows that are read here, a page at a time; each is changed on a page of its own, where there is one."""

    can_delete = False
    per_page = 10

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class BrownoutInline(_Read):
    """Planned windows in which a share of all calls fails, the latest first: planned by the button above."""

    model = Brownout
    verbose_name_plural = "brownouts of all tenants"
    fields = ("starts_at", "ends_at", "share", "created_by", "now")
    readonly_fields = fields
    ordering = ["-starts_at"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).filter(tenant__isnull=True).select_related("created_by")

    @display(description="Now")
    def now(self, row: Brownout) -> SafeString:
        now = clock.now()
        badge = states.brownout(row, at=now)
        if row.ends_at <= now or row.ends_at <= row.starts_at:
            return badge
        address = reverse("admin:tenants_deprecationschedule_stop_brownout", args=[row.schedule_id, row.pk])
        return format_html(
            '{} <a class="p-link" href="{}">{}</a>', badge, address, "Stop" if row.starts_at <= now else "Call off"
        )


class RehearsalInline(_Read):
    """Brownouts that tenant admins rehearsed on their own calls."""

    model = Brownout
    verbose_name_plural = "brownouts that tenants rehearsed"
    fields = ("tenant", "starts_at", "ends_at", "share", "created_by")
    readonly_fields = fields
    ordering = ["-starts_at"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).filter(tenant__isnull=False).select_related("tenant", "created_by")


class ExtensionInline(StaffTabularInline):
    """A later sunset for single tenants; to save a new one is to approve it. One that is there has a page of its own."""

    model = Extension
    formset = ExtensionFormset
    fields = ["tenant", "until", "reason", "approved_by", "act"]
    readonly_fields = ["approved_by", "act"]
    autocomplete_fields = ["tenant"]
    can_delete = False
    per_page = 10

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("tenant", "approved_by")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # A field that finds a tenant is a query and 10 kB for each row.
        return False

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and db_field.name == "reason":
            field.widget.attrs["rows"] = 2
        return field

    @display(description="Act")
    def act(self, row: Extension) -> SafeString | str:
        if row._state.adding:
            return ""
        address = reverse("admin:tenants_deprecationschedule_extension", args=[row.schedule_id, row.tenant_id])
        return format_html('<a class="p-link" href="{}">Change</a>', address)
