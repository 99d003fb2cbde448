"""The timeline: every API version and model version over the months, with who still uses it."""

from collections import defaultdict
from typing import Any, Final

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from billing.metering.version_use import Use
from inference.admin.deprecations import states
from inference.admin.deprecations.timeline import Entry, Line, chart
from inference.deprecations.impact import callers as impact
from inference.models import ModelVersion, VersionState
from mlplatform.lib import clock
from tenants.admin.kit import StaffAdmin
from tenants.deprecations import catalogue, rules
from tenants.models import ApiVersion, DeprecationSchedule, SubjectKind

_COMING: Final = 8
_NEVER: Final = Use(0, 0)


def entries() -> list[Entry]:
    """Every API version, and every model version that answers or has a schedule; oldest first within its kind."""
    now = clock.now()
    known = catalogue.current()
    used = impact.use_of_all()
    found = [
        Entry(
            kind=SubjectKind.API_VERSION,
            subject=version.name,
            state=version.state(at=now),
            starts_at=version.released_at,
            schedule=version.schedule,
            use=used.get((SubjectKind.API_VERSION.value, version.name), _NEVER),
        )
        for version in known.api_versions.values()
    ]
    for row in ModelVersion.objects.select_related("model__owner").order_by("model__name", "created_at", "pk"):
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
        drawn = chart(entries(), now=clock.now())
        may_add = self.has_add_permission(request)
        groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
        pks = dict(ApiVersion.objects.values_list("name", "pk"))
        for line in drawn.lines:
            groups[line.entry.kind].append(_shown(line, pks, may_add=may_add))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Timeline of versions",
            "chart": drawn,
            "groups": [(f"{kind.label}s", groups[kind]) for kind in SubjectKind if groups[kind]],
            "coming": [
                (moment, states.date(moment.at), _page("impact", moment.schedule_id))
                for moment in drawn.coming[:_COMING]
            ],
            "more": max(0, len(drawn.coming) - _COMING),
            "may_add": may_add,
            "media": self.media,
        }
        return TemplateResponse(request, "admin/lifecycle/timeline.html", context)


def _shown(line: Line, api_versions: dict[str, int], *, may_add: bool) -> dict[str, Any]:
    """A line with its badge and its links."""
    entry = line.entry
    schedule_id = entry.schedule.id if entry.schedule else None
    own = api_versions.get(entry.subject) if entry.kind == SubjectKind.API_VERSION else None
    return {
        "line": line,
        "badge": states.badge(entry.state),
        "calls": f"{entry.use.calls:,}",
        "edit": _page("change", schedule_id),
        "impact": _page("impact", schedule_id),
        "version": reverse("admin:tenants_apiversion_change", args=[own]) if own else "",
        # The live version of a model is what unpinned calls follow: it has no end before its successor is live.
        "plan": f"{reverse('admin:tenants_deprecationschedule_add')}?subject={entry.subject}"
        if may_add and schedule_id is None and entry.note not in {"live", "staged"}
        else "",
    }


def _page(name: str, schedule_id: int | None) -> str:
    return reverse(f"admin:tenants_deprecationschedule_{name}", args=[schedule_id]) if schedule_id else ""
