"""Every API version and every schedule in force, in memory: renewed within a second of a change, on every process."""

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace

from mlplatform.lib import clock
from mlplatform.lib.snapshot import Snapshot
from tenants.deprecations import rules
from tenants.deprecations.rules import Deprecation, Schedule, State, Window
from tenants.models import ApiVersion, DeprecationSchedule, SubjectKind


@dataclass(frozen=True, slots=True)
class KnownVersion:
    """An API version with its schedule, if it has one."""

    name: str
    released_at: dt.datetime | None
    summary: str
    schedule: Schedule | None

    def state(self, *, at: dt.datetime, tenant_id: int | None = None) -> State:
        return rules.state(released_at=self.released_at, schedule=self.schedule, at=at, tenant_id=tenant_id)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """``api_versions`` by name, oldest first; ``models`` are the schedules of model versions by ``name@version``."""

    api_versions: Mapping[str, KnownVersion]
    models: Mapping[str, Schedule]


def current() -> Catalogue:
    """What is known now."""
    return _catalogue.get()


def at_hand() -> Catalogue | None:
    """As :func:`current`, without a look into SQL."""
    return _catalogue.at_hand()


def judge_api_version(name: str, *, tenant_id: int, call_id: str) -> Deprecation | None:
    """What an answer of this API version must say. Raises :class:`rules.Ended` after its sunset and in a brownout."""
    known = _catalogue.get().api_versions.get(name)
    if known is None or known.schedule is None:
        return None
    return rules.judge(known.schedule, at=clock.now(), tenant_id=tenant_id, call_id=call_id, field="API-Version")


def judge_model_version(reference: str, *, tenant_id: int, call_id: str, field: str) -> Deprecation | None:
    """The same for a model version that a call pins as ``name@version``; ``field`` is the place of that name."""
    schedule = _catalogue.get().models.get(reference)
    if schedule is None:
        return None
    return rules.judge(schedule, at=clock.now(), tenant_id=tenant_id, call_id=call_id, field=field)


def changed() -> None:
    """To be called after a version, a schedule, a brownout or an extension was saved or deleted."""
    _catalogue.publish()


def forget() -> None:
    """Drop what this process holds; for tests."""
    _catalogue.forget()


def guide_path(kind: str, subject: str, successor: str) -> str:
    """The public page of a migration: ``/docs/migrate/v1-v2`` or ``/docs/migrate/sentiment@1.0.0-2.0.0``."""
    target = successor.partition("@")[2] if kind == SubjectKind.MODEL_VERSION else successor
    return f"/docs/migrate/{subject}-{target}"


def dated(row: DeprecationSchedule) -> Schedule:
    """A row with its dates as the rules see it, without brownouts and extensions; reads nothing."""
    return Schedule(
        id=row.pk,
        kind=row.kind,
        subject=row.subject,
        announce_at=row.announce_at,
        deprecate_at=row.deprecate_at,
        sunset_at=row.sunset_at,
        successor=row.successor,
        guide=guide_path(row.kind, row.subject, row.successor),
    )


def frozen(row: DeprecationSchedule) -> Schedule:
    """A row as the rules see it; reads its brownouts and extensions."""
    return replace(
        dated(row),
        brownouts=tuple(
            Window(one.pk, one.starts_at, one.ends_at, one.share, one.tenant_id) for one in row.brownouts.all()
        ),
        extensions={one.tenant_id: one.until for one in row.extensions.all()},
    )


def _load() -> Catalogue:
    rows = DeprecationSchedule.objects.filter(canceled_at__isnull=True).prefetch_related("brownouts", "extensions")
    schedules: dict[str, dict[str, Schedule]] = defaultdict(dict)
    for row in rows:
        schedules[row.kind][row.subject] = frozen(row)
    versions = sorted(ApiVersion.objects.all(), key=lambda row: _order(row.name))
    ends = schedules[SubjectKind.API_VERSION]
    return Catalogue(
        api_versions={
            row.name: KnownVersion(row.name, row.released_at, row.summary, ends.get(row.name)) for row in versions
        },
        models=schedules[SubjectKind.MODEL_VERSION],
    )


def _order(name: str) -> list[int]:
    return [int(part) for part in name[1:].split(".")]


_catalogue: Snapshot[Catalogue] = Snapshot("lifecycle", _load)
