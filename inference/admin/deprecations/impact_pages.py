"""The impact of a schedule: who still calls, in a table and as CSV, and a message to just these tenants."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Page, Paginator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.text import slugify

from inference.admin.deprecations import states
from inference.admin.deprecations.sparkline import sparkline
from inference.deprecations.impact import callers as impacts
from inference.deprecations.impact.callers import Impact, Part, Row
from inference.deprecations.notices import moments
from inference.deprecations.notices import sending as notices
from inference.deprecations.notices.moments import MomentKind
from inference.deprecations.rehearsals import jobs as rehearsal_jobs
from inference.deprecations.rehearsals import report
from inference.models.lifecycle import Notice
from mlplatform.lib import clock, dates
from tenants.admin import formats
from tenants.admin.confirmation import Question, ask
from tenants.admin.kit import StaffAdmin, action
from tenants.models import Brownout, DeprecationSchedule, Tenant, User

if TYPE_CHECKING:
    from django.forms import Textarea as UnfoldAdminTextareaWidget
    from django.forms import TextInput as UnfoldAdminTextInputWidget
else:
    from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

_A_PAGE: Final = 50
_DIGITS: Final = 7
_PAST_SHOWN: Final = 5
"""Brownouts that are over; those to come are all shown."""
_NAMED: Final = 12
_PARTS: Final = 3
"""Keys and clients of a tenant that are shown at once; the others fold away."""


class MessageForm(forms.Form):
    """What to tell, and whom: ids of tenants joined by commas, so that thousands fit one field."""

    subject = forms.CharField(max_length=200, widget=UnfoldAdminTextInputWidget)
    text = forms.CharField(
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 8}),
        help_text="Plain text. Each tenant's own last call and its rewriting are not added; say what they should do.",
    )
    tenants = forms.RegexField(regex=r"^\d+(,\d+)*$", widget=forms.HiddenInput)

    def clean_tenants(self) -> list[int]:
        return [int(part) for part in self.cleaned_data["tenants"].split(",")]


class ImpactPages(StaffAdmin[DeprecationSchedule]):
    """The views, for the admin of schedules."""

    def impact_urls(self) -> list[URLPattern]:
        wrap, name = self.admin_site.admin_view, "tenants_deprecationschedule"
        return [
            path("<int:pk>/impact.csv", wrap(self.impact_csv), name=f"{name}_impact_csv"),
            path("<int:pk>/message/", wrap(self.message), name=f"{name}_message"),
            path("<int:pk>/rehearsal/<int:tenant_id>/", wrap(self.rehearsed), name=f"{name}_rehearsal"),
        ]

    @action(description="Impact", permissions=["view"], icon="groups")
    def impact(self, request: HttpRequest, object_id: str) -> HttpResponse:
        schedule = get_object_or_404(DeprecationSchedule, pk=object_id)
        found, page = _page_of(schedule, request.GET.get("page", ""))
        now = clock.now()
        may_write = self.has_change_permission(request, schedule)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Impact: the end of {schedule.subject}",
            "object": schedule,
            "schedule": schedule,
            "state": states.badge(states.state_of(schedule)),
            "impact": found,
            "total": sparkline(found.trend, days=found.days, width=160),
            "total_change": _change(found.change),
            "calls": f"{found.calls:,}",
            "units": f"{found.units:,}",
            "ready": found.count("ready"),
            "needs_work": found.count("needs_work"),
            "rehearsed": found.count("ready") + found.count("needs_work"),
            "page": page,
            "rows": [_shown(row, found) for row in found.rows],
            **_brownouts(schedule, may_stop=may_write and request.user.has_perm("tenants.change_brownout")),
            "sunset": states.date(schedule.sunset_at),
            "days_left": (schedule.sunset_at - now).days if schedule.sunset_at > now else None,
            "may_write": may_write,
            "may_extend": request.user.has_perm("tenants.add_extension") and schedule.canceled_at is None,
            "may_brown_out": request.user.has_perm("tenants.add_brownout")
            and states.state_of(schedule) not in {"sunset", "canceled"},
            "media": self.media,
        }
        return TemplateResponse(request, "admin/lifecycle/impact.html", context)

    def impact_csv(self, request: HttpRequest, pk: int) -> HttpResponse:
        schedule = get_object_or_404(DeprecationSchedule, pk=pk)
        if not self.has_view_permission(request, schedule):
            raise PermissionDenied
        response = HttpResponse(impacts.csv(impacts.impact(schedule=schedule)), content_type="text/csv; charset=utf-8")
        name = slugify(schedule.subject.replace("@", "-").replace(".", "-"))
        response["Content-Disposition"] = f'attachment; filename="impact-{name}-{clock.now():%Y-%m-%d}.csv"'
        return response

    def rehearsed(self, request: HttpRequest, pk: int, tenant_id: int) -> HttpResponse:
        """The report of the tenant's newest rehearsal, as the tenant reads it."""
        schedule = get_object_or_404(DeprecationSchedule, pk=pk)
        if not self.has_view_permission(request, schedule):
            raise PermissionDenied
        tenant = get_object_or_404(Tenant, pk=tenant_id)
        row = rehearsal_jobs.latest(schedule_id=pk, tenant_id=tenant_id)
        if row is None:
            raise Http404
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "object": schedule,
            "title": f"{tenant.name} from {schedule.subject} to {schedule.successor}",
            "tenant": tenant,
            "rehearsal": row,
            "verdict": states.verdict(row.verdict) if row.verdict else row.get_state_display(),
            "asked": states.date(row.created_at),
            "report": report.read(row.report),
            "back": reverse("admin:tenants_deprecationschedule_impact", args=[pk]),
            "media": self.media,
        }
        return TemplateResponse(request, "admin/lifecycle/rehearsal.html", context)

    def message(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Write (GET, with the ticked tenants or ``all=1``), be asked (POST), send (confirmed POST)."""
        schedule = get_object_or_404(DeprecationSchedule, pk=pk)
        if not self.has_change_permission(request, schedule):
            raise PermissionDenied
        back = reverse("admin:tenants_deprecationschedule_impact", args=[pk])
        form = MessageForm(request.POST) if request.method == "POST" else None
        if form is not None and form.is_valid():
            return self._confirmed(request, schedule, form, back)
        ids = self._chosen(request, schedule)
        if not ids:
            messages.warning(request, "Tick the tenants to which you want to write.")
            return HttpResponseRedirect(back)
        if form is None:
            form = MessageForm(
                initial={"tenants": ",".join(map(str, ids)), "subject": f"About the end of {schedule.subject}"}
            )
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "object": schedule,
            "title": f"Write to {_count(len(ids))}",
            "form": form,
            "fields": [form["subject"], form["text"]],
            "names": _names(ids),
            "back": back,
            "button": "Continue",
            "media": self.media,
        }
        return TemplateResponse(request, "admin/lifecycle/form.html", context)

    def _chosen(self, request: HttpRequest, schedule: DeprecationSchedule) -> list[int]:
        if request.method == "POST":
            given = request.POST.get("tenants", "").split(",")
        elif request.GET.get("all"):
            return impacts.callers_of(schedule=schedule)
        else:
            given = request.GET.getlist("tenant")
        wanted = [int(one) for one in given if one.isdecimal() and len(one) < 19]
        return list(Tenant.objects.filter(pk__in=wanted).order_by("name").values_list("pk", flat=True))

    def _confirmed(
        self, request: HttpRequest, schedule: DeprecationSchedule, form: MessageForm, back: str
    ) -> HttpResponse:
        ids: list[int] = form.cleaned_data["tenants"]
        subject, text = form.cleaned_data["subject"], form.cleaned_data["text"]
        names = _names(ids)

        def act() -> str:
            person = request.user if isinstance(request.user, User) else None
            sent = notices.message(schedule=schedule, tenant_ids=ids, subject=subject, text=text, by=person)
            return f"The message goes to {_count(sent)}."

        return ask(
            request,
            self,
            question=Question(
                title=f"Write to {_count(len(ids))}",
                question=f"Send “{subject}” to the owners and admins of {_count(len(ids))}?",
                consequences=[
                    "They get it by e-mail, and it stands among the notices of this page.",
                    "A message that has gone out cannot be taken back.",
                    *([] if len(names) > 1 else [f"To: {names[0]}."] if names else []),
                ],
                subjects=names,
                button=f"Send to {_count(len(ids))}",
                danger=False,
            ),
            act=act,
            back=back,
            hidden=[("subject", subject), ("text", text), ("tenants", ",".join(map(str, ids)))],
        )


def _page_of(schedule: DeprecationSchedule, asked: str) -> tuple[Impact, Page[int]]:
    """The rows of one page, and the pages that there are; what is beyond them is the last one."""
    number = int(asked) if asked.isdecimal() and len(asked) < _DIGITS else 1
    found = impacts.impact(schedule=schedule, page=number, per_page=_A_PAGE)
    return found, Paginator(range(found.tenants), _A_PAGE).get_page(number)


def _brownouts(schedule: DeprecationSchedule, *, may_stop: bool) -> dict[str, Any]:
    """Those of all tenants: what runs and comes, soonest first, and the latest that are over; with how many tenants were told."""
    now = clock.now()
    rows = [row for row in schedule.brownouts.filter(tenant__isnull=True) if row.ends_at > row.starts_at]
    coming = [row for row in rows if row.ends_at > now]
    over = [row for row in rows if row.ends_at <= now]
    told = notices.told_of_brownouts(schedule_id=schedule.pk)
    return {
        "brownouts": [
            {
                "when": dates.moment(row.starts_at),
                "until": dates.moment(row.ends_at),
                "minutes": round((row.ends_at - row.starts_at).total_seconds() / 60),
                "share": row.share,
                "badge": states.brownout(row, at=now),
                "told": told.get(row.pk, 0),
                "letters": dates.moment(row.starts_at - moments.BEFORE_BROWNOUT),
                "told_later": now < row.starts_at - moments.BEFORE_BROWNOUT,
                "stop": _stop_address(row) if may_stop and row.ends_at > now else "",
                "stop_text": "Stop" if row.starts_at <= now else "Call off",
            }
            for row in [*coming, *reversed(over[-_PAST_SHOWN:])]
        ],
        "more_brownouts": max(0, len(over) - _PAST_SHOWN),
    }


def _stop_address(row: Brownout) -> str:
    return reverse("admin:tenants_deprecationschedule_stop_brownout", args=[row.schedule_id, row.pk])


def _shown(row: Row, found: Impact) -> dict[str, Any]:
    """A row as the template shows it."""
    schedule = found.schedule
    return {
        "row": row,
        "calls": f"{row.calls:,}",
        "units": f"{row.units:,}",
        "last_call": formats.age(row.last_call_at),
        "change": _change(row.change) if row.calls else "",
        "spark": sparkline(row.trend, days=found.days),
        "keys": _parts(row.keys[:_PARTS]),
        "clients": _parts(row.clients[:_PARTS]),
        "more": _parts([*row.keys[_PARTS:], *row.clients[_PARTS:]]),
        "told": [_told(notice) for notice in row.notices],
        "verdict": states.verdict(row.verdict),
        "rehearsal_url": reverse("admin:tenants_deprecationschedule_rehearsal", args=[schedule.pk, row.tenant.pk])
        if row.verdict
        else "",
        "extension": states.date(row.extension.until) if row.extension else "",
        "tenant_url": reverse("admin:tenants_tenant_change", args=[row.tenant.pk]),
        "extension_url": reverse("admin:tenants_deprecationschedule_extension", args=[schedule.pk, row.tenant.pk]),
    }


def _parts(parts: Sequence[Part]) -> list[dict[str, str]]:
    return [{"name": part.name, "calls": f"{part.calls:,}"} for part in parts]


def _told(notice: Notice) -> dict[str, Any]:
    """When and of what; a notice whose e-mail has not gone out says so."""
    is_message = notice.moment.startswith(f"{MomentKind.MESSAGE}:")
    waiting = "" if notice.sent_at else notice.error or "not sent yet"
    return {
        "day": states.date(notice.sent_at or notice.created_at),
        "age": formats.age(notice.sent_at or notice.created_at),
        "what": f"“{notice.subject}”" if is_message else moments.label(notice.moment),
        "problem": waiting,
    }


def _change(change: int | None) -> str:
    if change is None:
        return "none the week before"
    return "as the week before" if change == 0 else f"{change:+d} % in a week".replace("-", "−")


def _names(ids: Sequence[int]) -> list[str]:
    names = list(Tenant.objects.filter(pk__in=ids).order_by("name").values_list("name", flat=True))
    return names if len(names) <= _NAMED else [*names[:_NAMED], f"and {len(names) - _NAMED} more"]


def _count(number: int) -> str:
    return "1 tenant" if number == 1 else f"{number:,} tenants"
