"""API versions: a row for each that has a file, with its release and its summary. What state it is in follows."""

import datetime as dt
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from inference.admin.deprecations import states
from inference.api_versions import VERSIONS
from inference.deprecations import subjects
from mlplatform.lib import clock, dates
from tenants.admin import formats
from tenants.admin.kit import ModelForm, StaffAdmin, display
from tenants.deprecations import catalogue
from tenants.models import ApiVersion

if TYPE_CHECKING:
    from django.forms import Select as UnfoldAdminSelectWidget
else:
    from unfold.widgets import UnfoldAdminSelectWidget


def without_row() -> list[str]:
    """Names of API versions that the code can speak and that have no row yet."""
    taken = set(ApiVersion.objects.values_list("name", flat=True))
    return [name for name in VERSIONS if name not in taken]


class ApiVersionForm(ModelForm[ApiVersion]):
    """A new row is for a version that the code can speak; what was released stays released."""

    name = forms.ChoiceField(
        choices=lambda: [(name, name) for name in without_row()],
        widget=UnfoldAdminSelectWidget,
        help_text="API versions whose file is there and whose row is not. A new one begins with its file.",
    )

    class Meta:
        model = ApiVersion
        fields = ["name", "released_at", "summary"]

    def clean_released_at(self) -> dt.datetime | None:
        moment: dt.datetime | None = self.cleaned_data["released_at"]
        before = self.instance.released_at
        now = clock.now()
        if self.instance.pk and before is not None and before <= now and (moment is None or moment > now):
            raise ValidationError("It is released, and customers rely on it: it cannot be a preview again.")
        return moment


@admin.register(ApiVersion)
class ApiVersionAdmin(StaffAdmin[ApiVersion]):
    form = ApiVersionForm
    list_display = ["title", "state", "released", "schedule", "summary_short"]
    ordering = ["name"]

    def get_fields(self, request: HttpRequest, obj: ApiVersion | None = None) -> Any:
        facts = [] if obj is None else ["state", "schedule"]
        return ["name", *facts, "released_at", "summary"]

    def get_readonly_fields(self, request: HttpRequest, obj: ApiVersion | None = None) -> list[str]:
        # Customers' programs, keys and usage name it.
        return [] if obj is None else ["name", "state", "schedule"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        # Asked on every page of the admin, so the answer comes from memory; the form reads the rows.
        known = catalogue.current().api_versions
        return super().has_add_permission(request) and any(name not in known for name in VERSIONS)

    def has_delete_permission(self, request: HttpRequest, obj: ApiVersion | None = None) -> bool:
        # A version ends by its schedule, and answers 410 for ever after.
        return False

    def publish(self, obj: ApiVersion) -> None:
        catalogue.changed()

    @display(description="API version", ordering="name")
    def title(self, version: ApiVersion) -> SafeString:
        return formats.code(version.name)

    @display(description="State")
    def state(self, version: ApiVersion) -> SafeString:
        known = catalogue.current().api_versions.get(version.name)
        return states.badge(known.state(at=clock.now())) if known else formats.badge("Unknown", "neutral")

    @display(description="Released", ordering="released_at")
    def released(self, version: ApiVersion) -> SafeString:
        return states.date(version.released_at) if version.released_at else formats.age(None, never="not yet")

    @display(description="Its end")
    def schedule(self, version: ApiVersion) -> SafeString:
        known = catalogue.current().api_versions.get(version.name)
        if known is None or known.schedule is None:
            if version.name not in subjects.plannable_api_versions():
                return format_html("{}", "none")
            address = f"{reverse('admin:tenants_deprecationschedule_add')}?subject={version.name}"
            return format_html('none <a class="p-link" href="{}">Plan it</a>', address)
        address = reverse("admin:tenants_deprecationschedule_change", args=[known.schedule.id])
        ends = known.schedule.sunset_at
        return format_html(
            '<a class="p-link" href="{}">{} {}</a>',
            address,
            "ended" if ends <= clock.now() else "ends",
            dates.day(ends),
        )

    @display(description="Summary")
    def summary_short(self, version: ApiVersion) -> SafeString:
        return formats.note(version.summary or "–")

    def get_changeform_initial_data(self, request: HttpRequest) -> Any:
        return {
            "released_at": clock.now().replace(second=0, microsecond=0),
            **super().get_changeform_initial_data(request),
        }
