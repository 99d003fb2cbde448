"""Deprecation schedules: the list, the form with brownouts and extensions, and calling an end off."""

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from inference.admin.deprecations import states
from inference.admin.deprecations.impact_pages import ImpactPages
from inference.admin.deprecations.inlines import BrownoutInline, ExtensionInline, RehearsalInline
from inference.admin.deprecations.relief_pages import ReliefPages
from inference.admin.deprecations.schedule_form import ScheduleForm, default_dates, draft
from inference.admin.deprecations.timeline_page import TimelinePage
from inference.deprecations import subjects
from mlplatform.lib import clock
from tenants.admin import formats
from tenants.admin.confirmation import Question, ask
from tenants.admin.kit import StaffAdmin, action, display
from tenants.deprecations import catalogue, schedules
from tenants.models import DeprecationSchedule, Extension, User


@admin.register(DeprecationSchedule)
class ScheduleAdmin(TimelinePage, ImpactPages, ReliefPages, StaffAdmin[DeprecationSchedule]):
    form = ScheduleForm
    list_display = ["title", "state", "announced", "deprecated", "sunset", "successor", "impact_link"]
    list_filter = ["kind"]
    search_fields = ["subject", "successor", "reason"]
    search_help_text = "Subject, successor or reason"
    ordering = ["-sunset_at"]
    inlines = [BrownoutInline, ExtensionInline, RehearsalInline]
    actions_detail = ["impact", "brownout", "cancel"]

    @property
    def add_words(self) -> str:
        return "Plan an end"

    def get_urls(self) -> list[URLPattern]:
        own = [*self.timeline_urls(), *self.impact_urls(), *self.relief_urls()]
        return own + list(super().get_urls())

    def get_fieldsets(self, request: HttpRequest, obj: DeprecationSchedule | None = None) -> Any:
        what = ["subject"] if obj is None else ["state", "subject", "guide_address"]
        return [
            (None, {"fields": [*what, "successor"]}),
            (
                "When, UTC",
                {
                    "fields": ["announce_at", "deprecate_at", "sunset_at", "short_notice_reason"],
                    "description": "Six months lie between deprecation and sunset, unless you say why not.",
                },
            ),
            ("What customers read", {"fields": ["reason", "guide", "audience"]}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: DeprecationSchedule | None = None) -> list[str]:
        # Another subject is another schedule: call this one off.
        return [] if obj is None else ["state", "subject", "guide_address"]

    def get_inlines(self, request: HttpRequest, obj: DeprecationSchedule | None) -> Any:
        if obj is None:
            return []
        rehearsed = obj.brownouts.filter(tenant__isnull=False).exists()
        return [one for one in super().get_inlines(request, obj) if rehearsed or one is not RehearsalInline]

    def get_changeform_initial_data(self, request: HttpRequest) -> Any:
        given = super().get_changeform_initial_data(request)
        subject = str(given.get("subject", ""))
        successor = str(given.get("successor", "")) or (subjects.successor_of(subject) if subject else "")
        return {**default_dates(clock.now()), "successor": successor, "guide": draft(subject, successor), **given}

    def has_change_permission(self, request: HttpRequest, obj: DeprecationSchedule | None = None) -> bool:
        canceled = isinstance(obj, DeprecationSchedule) and obj.canceled_at is not None
        return super().has_change_permission(request, obj) and not canceled

    def has_delete_permission(self, request: HttpRequest, obj: DeprecationSchedule | None = None) -> bool:
        # People were told of it: it is called off instead.
        return False

    def save_model(self, request: HttpRequest, obj: DeprecationSchedule, form: Any, change: bool) -> None:
        schedules.save(obj, by=_person(request))

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        rows: Iterable[Extension] = formset.save(commit=False)
        for row in rows:
            row.approved_by = _person(request)
            row.save()

    def publish(self, obj: DeprecationSchedule) -> None:
        catalogue.changed()

    def get_actions_detail(self, request: HttpRequest, object_id: str) -> list[Any]:
        """Only what the schedule's state allows."""
        found: list[Any] = super().get_actions_detail(request, object_id)  # type: ignore[misc]  # unfold's
        row = DeprecationSchedule.objects.filter(pk=object_id).first()
        if row is None or states.state_of(row) in {"sunset", "canceled"}:
            return [entry for entry in found if entry.action_name.endswith("_impact")]
        return found

    @display(description="What ends", ordering="subject", header=True)
    def title(self, row: DeprecationSchedule) -> list[str]:
        return [row.subject, row.get_kind_display()]

    @display(description="State")
    def state(self, row: DeprecationSchedule) -> SafeString:
        return states.badge(states.state_of(row))

    @display(description="Announced", ordering="announce_at")
    def announced(self, row: DeprecationSchedule) -> SafeString:
        return states.date(row.announce_at)

    @display(description="Deprecated", ordering="deprecate_at")
    def deprecated(self, row: DeprecationSchedule) -> SafeString:
        return states.date(row.deprecate_at)

    @display(description="Sunset", ordering="sunset_at")
    def sunset(self, row: DeprecationSchedule) -> SafeString:
        return states.date(row.sunset_at)

    @display(description="Impact")
    def impact_link(self, row: DeprecationSchedule) -> SafeString:
        address = reverse("admin:tenants_deprecationschedule_impact", args=[row.pk])
        return format_html('<a class="p-link" href="{}">Who calls it</a>', address)

    @display(description="Its guide")
    def guide_address(self, row: DeprecationSchedule) -> SafeString:
        return formats.code(catalogue.guide_path(row.kind, row.subject, row.successor))

    @action(description="Call off the end", permissions=["change"], icon="event_busy")
    def cancel(self, request: HttpRequest, object_id: str) -> HttpResponse:
        row = get_object_or_404(DeprecationSchedule, pk=object_id, canceled_at__isnull=True)

        def act() -> str:
            schedules.cancel(row)
            return f"The end of {row.subject} is called off."

        told = row.announce_at <= clock.now()
        return ask(
            request,
            self,
            question=Question(
                title=f"Call off the end of {row.subject}",
                question=f"Let {row.subject} go on without an end?",
                consequences=[
                    "Every process follows within a second: no more deprecation headers, brownouts or refusals.",
                    "Customers were told that it ends; write to them." if told else "No customer was told of it.",
                    "Its brownouts and extensions end with it. A new schedule can be made at any time.",
                ],
                subjects=[str(row)],
                button="Call it off",
            ),
            act=act,
            back=reverse("admin:tenants_deprecationschedule_change", args=[object_id]),
        )


def _person(request: HttpRequest) -> User | None:
    return request.user if isinstance(request.user, User) else None
