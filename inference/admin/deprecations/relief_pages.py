"""Small forms that ease the way: plan or stop a brownout, grant one tenant an extension."""

import datetime as dt
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from inference.deprecations.notices import moments
from mlplatform.lib import clock, dates
from tenants.admin.confirmation import Question, ask
from tenants.admin.kit import StaffAdmin, action
from tenants.deprecations import schedules
from tenants.models import Brownout, DeprecationSchedule, Extension, Tenant, User

if TYPE_CHECKING:
    from django.forms import CheckboxInput as UnfoldBooleanWidget
    from django.forms import NumberInput as UnfoldAdminIntegerFieldWidget
    from django.forms import Textarea as UnfoldAdminTextareaWidget
    from django.forms import TextInput as UnfoldAdminTextInputWidget
else:
    from unfold.widgets import (
        UnfoldAdminIntegerFieldWidget,
        UnfoldAdminTextareaWidget,
        UnfoldAdminTextInputWidget,
        UnfoldBooleanWidget,
    )

_LOCAL: Final = "%Y-%m-%dT%H:%M"
_USUAL_EXTENSION: Final = dt.timedelta(days=90)


def moment_field(label: str, help_text: str = "") -> forms.DateTimeField:
    """A moment in UTC; the browser brings the calendar, so no script is needed."""
    widget = UnfoldAdminTextInputWidget(attrs={"type": "datetime-local"})
    widget.format_value = lambda value: value.strftime(_LOCAL) if isinstance(value, dt.datetime) else value  # type: ignore[method-assign]
    return forms.DateTimeField(label=label, help_text=help_text, widget=widget)


class BrownoutForm(forms.Form):
    starts_at = moment_field("Starts (UTC)")
    minutes = forms.IntegerField(
        min_value=1, max_value=7 * 24 * 60, initial=60, label="Minutes", widget=UnfoldAdminIntegerFieldWidget
    )
    share = forms.IntegerField(
        min_value=1,
        max_value=100,
        initial=100,
        label="Share of calls that fail (%)",
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="They get 503 with a problem type of its own, and are not charged. A retry with the same id fails, too.",
    )
    short_notice = forms.BooleanField(
        required=False, label="Plan it all the same, with less notice", widget=UnfoldBooleanWidget
    )


class ExtensionForm(forms.Form):
    until = moment_field("Until (UTC)", "The tenant's own sunset, later than that of all.")
    reason = forms.CharField(
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}), help_text="For the next person who asks."
    )


class ReliefPages(StaffAdmin[DeprecationSchedule]):
    """The views, for the admin of schedules."""

    def relief_urls(self) -> list[URLPattern]:
        wrap, name = self.admin_site.admin_view, "tenants_deprecationschedule"
        return [
            path("<int:pk>/extension/<int:tenant_id>/", wrap(self.extension), name=f"{name}_extension"),
            path("<int:pk>/stop-brownout/<int:brownout_id>/", wrap(self.stop_brownout), name=f"{name}_stop_brownout"),
        ]

    def has_brownout_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return request.user.has_perm("tenants.add_brownout")

    @action(description="Plan a brownout", permissions=["brownout"], icon="flash_off")
    def brownout(self, request: HttpRequest, object_id: str) -> HttpResponse:
        schedule = get_object_or_404(DeprecationSchedule, pk=object_id, canceled_at__isnull=True)
        form = BrownoutForm(request.POST or None, initial={"starts_at": _usual_start(schedule)})

        def act() -> str:
            given = form.cleaned_data
            ends_at = given["starts_at"] + dt.timedelta(minutes=given["minutes"])
            schedules.check_notice(given["starts_at"], confirmed=given["short_notice"])
            row = schedules.plan_brownout(
                schedule=schedule,
                starts_at=given["starts_at"],
                ends_at=ends_at,
                share=given["share"],
                by=_person(request),
            )
            return f"Planned: {row}."

        return self._form(
            request,
            schedule,
            form,
            act,
            title=f"Plan a brownout of {schedule.subject}",
            notes=[
                f"{schedule.subject} is deprecated on {dates.day(schedule.deprecate_at)} and ends on "
                f"{dates.day(schedule.sunset_at)}; a brownout lies between.",
                "Tenants that use it are told by letter "
                f"{moments.BEFORE_BROWNOUT // dt.timedelta(hours=1)} hours before it begins, or at once where that has passed.",
            ],
            button="Plan it",
            only_asked=("short_notice",),
        )

    def extension(self, request: HttpRequest, pk: int, tenant_id: int) -> HttpResponse:
        schedule = get_object_or_404(DeprecationSchedule, pk=pk, canceled_at__isnull=True)
        tenant = get_object_or_404(Tenant, pk=tenant_id)
        before = Extension.objects.filter(schedule=schedule, tenant=tenant).first()
        verb = "change" if before else "add"
        person = _person(request)
        if person is None or not person.has_perm(f"tenants.{verb}_extension"):
            raise PermissionDenied
        usual = max(schedule.sunset_at, clock.now()) + _USUAL_EXTENSION
        start = {"until": before.until, "reason": before.reason} if before else {"until": usual}
        form = ExtensionForm(request.POST or None, initial=start)

        def act() -> str:
            until = form.cleaned_data["until"]
            reason = form.cleaned_data["reason"]
            schedules.grant_extension(schedule=schedule, tenant=tenant, until=until, reason=reason, approved_by=person)
            return f"{tenant} may use {schedule.subject} until {dates.moment(until)}."

        return self._form(
            request,
            schedule,
            form,
            act,
            title=f"{schedule.subject} longer for {tenant.name}",
            notes=[
                f"For other tenants {schedule.subject} ends on {dates.moment(schedule.sunset_at)}.",
                "You are named as the one who approved it.",
            ],
            button="Change the extension" if before else "Grant the extension",
        )

    def stop_brownout(self, request: HttpRequest, pk: int, brownout_id: int) -> HttpResponse:
        row = get_object_or_404(Brownout.objects.select_related("schedule"), pk=brownout_id, schedule=pk, tenant=None)
        if not request.user.has_perm("tenants.change_brownout"):
            raise PermissionDenied
        running = row.starts_at <= clock.now()

        def act() -> str:
            schedules.stop_brownout(row)
            return "The brownout is stopped." if running else "The brownout is called off."

        return ask(
            request,
            self,
            question=Question(
                title="Stop the brownout" if running else "Call off the brownout",
                question=f"{row.schedule.subject}: let its calls succeed {'from now on' if running else 'after all'}?",
                consequences=[f"{row}.", "Every process follows within a second. Another brownout can be planned."],
                subjects=[str(row)],
                button="Stop it" if running else "Call it off",
            ),
            act=act,
            back=reverse("admin:tenants_deprecationschedule_change", args=[pk]),
        )

    def _form(
        self,
        request: HttpRequest,
        schedule: DeprecationSchedule,
        form: forms.Form,
        act: Callable[[], str],
        *,
        title: str,
        notes: list[str],
        button: str,
        only_asked: Sequence[str] = (),
    ) -> HttpResponse:
        """Show the form, or do it and go to the impact page; what the service refuses stands at its field.

        Fields that are ``only_asked`` are a confirmation: they are shown once the service has asked for it.
        """
        back = reverse("admin:tenants_deprecationschedule_impact", args=[schedule.pk])
        if request.method == "POST" and form.is_valid():
            try:
                messages.success(request, act())
                return HttpResponseRedirect(back)
            except ValidationError as error:
                for name, texts in error.message_dict.items():
                    form.add_error(_FIELDS.get(name, name if name in form.fields else None), texts)
        context: dict[str, Any] = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "object": schedule,
            "title": title,
            "form": form,
            "fields": [field for field in form if field.name not in only_asked or field.errors or field.data],
            "notes": notes,
            "back": back,
            "button": button,
            "media": self.media,
        }
        return TemplateResponse(request, "admin/lifecycle/form.html", context)


_FIELDS: Final = {"ends_at": "minutes"}
"""Fields of rows that have another name in the forms here."""


def _usual_start(schedule: DeprecationSchedule) -> dt.datetime:
    """The first ten o'clock that leaves the usual notice and is in the time of deprecation."""
    earliest = max(clock.now() + dt.timedelta(hours=settings.BROWNOUT_NOTICE_H), schedule.deprecate_at)
    start = earliest.replace(hour=10, minute=0, second=0, microsecond=0)
    return start if start >= earliest else start + dt.timedelta(days=1)


def _person(request: HttpRequest) -> User | None:
    return request.user if isinstance(request.user, User) else None
