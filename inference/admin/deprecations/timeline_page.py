"""The timeline: every API version, and every model with its versions, over the months, with the use of each."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, Final

from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from billing.metering.version_use import Use
from inference.admin.deprecations import states
from inference.admin.deprecations.timeline import Entry, Line, chart
from inference.deprecations import subjects
from inference.deprecations.impact import callers as impact
from inference.models import VersionState
from inference.registry import names
from mlplatform.lib import clock
from tenants.admin.kit import StaffAdmin
from tenants.deprecations import catalogue, rules
from tenants.models import ApiVersion, DeprecationSchedule, SubjectKind

_COMING: Final = 8
_MODELS_A_PAGE: Final = 40
_FAR_RIGHT: Final = 75.0
"""Percent from which on the name of a version stands before its bar."""
_NAME_WIDTH: Final = 11.0
"""Percent that the name of a version takes; it stands beside the line of today, not across it."""
_NEVER: Final = Use(0, 0)
_LIST: Final = "admin:tenants_deprecationschedule"


def entries() -> list[Entry]:
    """Every API version, and every model version that answers or has a schedule; oldest first within its kind or model."""
    now = clock.now()
    known = catalogue.current()
    used = impact.use_of_all()
    plannable = subjects.plannable()
    found = [
        Entry(
            kind=SubjectKind.API_VERSION,
            subject=version.name,
            state=version.state(at=now),
            starts_at=version.released_at,
            schedule=version.schedule,
            use=used.get((SubjectKind.API_VERSION.value, version.name), _NEVER),
            can_end=version.name in plannable,
        )
        for version in known.api_versions.values()
    ]
    for row in names.versions().order_by("model__name", "model__owner__slug", "created_at", "pk"):
        reference = str(row)
        schedule = known.models.get(reference)
        if row.state == VersionState.RETIRED and schedule is None:
            continue
        released = None if row.state == VersionState.STAGED else row.created_at
        found.append(
            Entry(
                kind=SubjectKind.MODEL_VERSION,
                subject=reference,
                state=rules.state(released_at=released, schedule=schedule, at=now),
                starts_at=released,
                schedule=schedule,
                use=used.get((SubjectKind.MODEL_VERSION.value, reference), _NEVER),
                note=row.get_state_display().lower(),
                model=row.model.qualified_name,
                can_end=reference in plannable,
            )
        )
    return found


class TimelinePage(StaffAdmin[DeprecationSchedule]):
    """The view, for the admin of schedules."""

    def timeline_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.timeline)
        return [path("timeline/", view, name="tenants_deprecationschedule_timeline")]

    def timeline(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        asked = request.GET.get("q", "").strip()
        found = entries()
        of_api = [entry for entry in found if entry.kind == SubjectKind.API_VERSION]
        models = _by_model(entry for entry in found if entry.model and asked.lower() in entry.model.lower())
        page = Paginator(models, _MODELS_A_PAGE).get_page(request.GET.get("page"))
        shown = [*of_api, *(entry for _, own in page for entry in own)]
        drawn = chart(found, now=clock.now(), shown=shown)
        may_add = self.has_add_permission(request)
        pks = dict(ApiVersion.objects.values_list("name", "pk"))
        lines = {line.entry.subject: line for line in drawn.lines}
        context = {
            **self.admin_site.each_context(request),
            "title": "Timeline",
            "content_title": "Timeline",  # the page is of no schedule, so its path is its name
            "chart": drawn,
            "api_versions": [_api_version(lines[one.subject], pks, may_add=may_add) for one in of_api],
            "models": [
                _model(name, [lines[one.subject] for one in own], today=drawn.today, may_add=may_add)
                for name, own in page
            ],
            "page": page,
            "asked": asked,
            "coming": [
                (moment, states.date(moment.at), _page("impact", moment.schedule_id))
                for moment in drawn.coming[:_COMING]
            ],
            "more": max(0, len(drawn.coming) - _COMING),
            "may_plan": may_add and any(entry.can_end for entry in found),
            "media": self.media,
        }
        return TemplateResponse(request, "admin/lifecycle/timeline.html", context)


def _by_model(found: Iterable[Entry]) -> list[tuple[str, list[Entry]]]:
    return [(name, list(own)) for name, own in groupby(found, key=lambda entry: entry.model)]


def _api_version(line: Line, pks: dict[str, int], *, may_add: bool) -> dict[str, Any]:
    """A line with its badge and its links."""
    entry = line.entry
    schedule_id = entry.schedule.id if entry.schedule else None
    own = pks.get(entry.subject)
    return {
        "line": line,
        "badge": states.badge(entry.state),
        "calls": f"{entry.use.calls:,}",
        "edit": _page("change", schedule_id),
        "impact": _page("impact", schedule_id),
        "version": reverse("admin:tenants_apiversion_change", args=[own]) if own else "",
        "plan": _plan(entry) if may_add and entry.can_end else "",
    }


def _model(name: str, lines: Sequence[Line], *, today: float, may_add: bool) -> dict[str, Any]:
    """A model with a lane for each version: where the lane leads, and what it says before its bars are looked at."""
    calls = sum(line.entry.use.calls for line in lines)
    lanes = [_lane(line, today=today, may_add=may_add) for line in lines]
    return {"name": name, "calls": f"{calls:,}", "calls_n": calls, "lanes": lanes}


def _lane(line: Line, *, today: float, may_add: bool) -> dict[str, Any]:
    entry = line.entry
    left = min((bar.left for bar in line.bars), default=0.0)
    if left < today < left + _NAME_WIDTH:
        left = today
    if entry.schedule is not None:
        does, link = "Impact of the end of", _page("impact", entry.schedule.id)
    elif may_add and entry.can_end:
        does, link = "Plan the end of", _plan(entry)
    else:
        does, link = "", ""
    use = f"{entry.use.tenants:,} tenant{'' if entry.use.tenants == 1 else 's'}, {entry.use.calls:,} calls"
    return {
        "line": line,
        "number": entry.subject.partition("@")[2],
        "state": entry.note if entry.schedule is None else entry.state,
        "left": left,
        "far_right": left > _FAR_RIGHT,
        "link": link,
        "does": does,
        "use": use if entry.use.calls else "no calls",
    }


def _plan(entry: Entry) -> str:
    return f"{reverse(f'{_LIST}_add')}?subject={entry.subject}"


def _page(name: str, schedule_id: int | None) -> str:
    return reverse(f"{_LIST}_{name}", args=[schedule_id]) if schedule_id else ""
