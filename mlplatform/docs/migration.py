"""Which migration guides there are, and what the public may know of each."""

from collections.abc import Iterator
from dataclasses import dataclass

from inference.api_versions import VERSIONS
from inference.deprecations.guides import pages as guide_pages
from inference.deprecations.guides.pages import GuidePage
from inference.registry.live import is_visible_to
from mlplatform.lib import clock
from tenants.deprecations import catalogue, rules
from tenants.deprecations.rules import Schedule, Window
from tenants.models import DeprecationSchedule, SubjectKind


@dataclass(frozen=True, slots=True)
class Way:
    """From a subject to what takes its place. ``schedule`` is there once the subject's end is announced."""

    kind: str
    subject: str
    successor: str
    schedule: Schedule | None

    @property
    def path(self) -> str:
        return catalogue.guide_path(self.kind, self.subject, self.successor)

    @property
    def recommended(self) -> bool:
        """Whether this is the way that the announcement names."""
        return self.schedule is not None and self.schedule.successor == self.successor


@dataclass(frozen=True, slots=True)
class Migration:
    """A guide with what was announced of the subject's end: its state, its reason, and brownouts still to come."""

    way: Way
    page: GuidePage
    state: str
    reason: str
    brownouts: tuple[Window, ...]


def ways(*, tenant_id: int | None = None) -> Iterator[Way]:
    """Every guide: between API versions always, between model versions once the end of the older is announced.

    Those of a private model are for its owner alone.
    """
    known = catalogue.current()
    names = list(VERSIONS)
    for place, subject in enumerate(names):
        version = known.api_versions.get(subject)
        schedule = _announced(version.schedule if version is not None else None)
        for successor in names[place + 1 :]:
            yield Way(SubjectKind.API_VERSION, subject, successor, schedule)
    for schedule in known.models.values():
        if _announced(schedule) is not None and is_visible_to(schedule.subject, tenant_id=tenant_id):
            yield Way(SubjectKind.MODEL_VERSION, schedule.subject, schedule.successor, schedule)


def find(pair: str, *, tenant_id: int | None = None) -> Migration | None:
    """The guide of an address such as ``v1-v2`` or ``sentiment@1.0.0-2.0.0``; None when there is none (yet) for this reader."""
    way = next((way for way in ways(tenant_id=tenant_id) if way.path == f"/docs/migrate/{pair}"), None)
    if way is None:
        return None
    row = DeprecationSchedule.objects.filter(pk=way.schedule.id).first() if way.schedule is not None else None
    markdown = row.guide if row is not None and way.recommended else ""
    try:
        page = guide_pages.page(kind=way.kind, subject=way.subject, successor=way.successor, guide_markdown=markdown)
    except LookupError:
        # The rows of a model version were deleted: there is nothing left to tell.
        return None
    return Migration(
        way=way,
        page=page,
        state=_state(way.schedule),
        reason=row.reason if row is not None else "",
        brownouts=rules.planned(way.schedule, at=clock.now()) if way.schedule is not None else (),
    )


def _announced(schedule: Schedule | None) -> Schedule | None:
    return schedule if schedule is not None and schedule.announced(clock.now()) else None


def _state(schedule: Schedule | None) -> str:
    """``open`` without an announcement, then the state of what ends."""
    if schedule is None:
        return "open"
    # It answers since before its end was announced.
    return rules.state(released_at=schedule.announce_at, schedule=schedule, at=clock.now()).value
