"""The rules of retirement, pure: a schedule and a moment in, a state or a refusal out. No face, no database, no clock.

A subject goes ``preview → active → announced → deprecated → sunset`` and never back. A tenant's extension only postpones its
sunset.
"""

import datetime as dt
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from mlplatform.lib.errors import ErrorKind, PlatformError

MAINTAINED: Final = dt.timedelta(days=182)
"""Six months: the least time between deprecation and sunset, unless staff give a reason."""


class State(StrEnum):
    """Where a version stands at a moment, in the order in which it gets there; every page and face says it by these words.

    ``announced`` is active with an end that the public knows.
    """

    PREVIEW = "preview"
    ACTIVE = "active"
    ANNOUNCED = "announced"
    DEPRECATED = "deprecated"
    SUNSET = "sunset"


RECOMMENDABLE: Final = frozenset({State.ACTIVE, State.ANNOUNCED})
"""States of what another version may send its callers to."""


@dataclass(frozen=True, slots=True)
class Window:
    """A brownout from ``starts_at`` until ``ends_at``, of all tenants or of one. ``share`` is in percent."""

    id: int
    starts_at: dt.datetime
    ends_at: dt.datetime
    share: int
    tenant_id: int | None = None

    def strikes(self, call_id: str) -> bool:
        """Whether the call is one of the share. The same call id gets the same answer: a retry is no lottery."""
        return zlib.crc32(f"{self.id}:{call_id}".encode()) % 100 < self.share


@dataclass(frozen=True, slots=True)
class Schedule:
    """A deprecation schedule as calls are judged by it. ``guide`` is the path of its page; ``extensions`` by tenant id."""

    id: int
    kind: str
    subject: str
    announce_at: dt.datetime
    deprecate_at: dt.datetime
    sunset_at: dt.datetime
    successor: str
    guide: str
    brownouts: tuple[Window, ...] = ()
    extensions: Mapping[int, dt.datetime] = field(default_factory=dict)

    def sunset_for(self, tenant_id: int | None) -> dt.datetime:
        """The moment from which this tenant's calls are refused; never earlier than the common one."""
        until = self.extensions.get(tenant_id) if tenant_id is not None else None
        return self.sunset_at if until is None else max(until, self.sunset_at)

    def announced(self, at: dt.datetime) -> bool:
        """Whether the public knows."""
        return at >= self.announce_at


@dataclass(frozen=True, slots=True)
class Deprecation:
    """What an answer of a subject whose end is announced says: until when (for this tenant), and where to go.

    ``in_force``: whether it is deprecated already; before, ``deprecated_at`` is to come.
    """

    kind: str
    subject: str
    deprecated_at: dt.datetime
    sunset_at: dt.datetime
    successor: str
    guide: str
    in_force: bool = True


class Ended(PlatformError):
    """A call that the schedule refuses: GONE after the sunset, BROWNOUT in a window. It carries the deprecation."""

    def __init__(
        self,
        kind: ErrorKind,
        detail: str,
        deprecation: Deprecation,
        *,
        field: str | None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(
            kind,
            detail,
            field=field,
            retry_after_s=retry_after_s,
            extra={
                "successor": deprecation.successor,
                "guide": deprecation.guide,
                "sunset": deprecation.sunset_at.isoformat(),
            },
        )
        self.deprecation = deprecation


def state(
    *, released_at: dt.datetime | None, schedule: Schedule | None, at: dt.datetime, tenant_id: int | None = None
) -> State:
    """The state at a moment, for a tenant where one is given."""
    reached = _reached(schedule, at, tenant_id) if schedule is not None else None
    if reached in {State.DEPRECATED, State.SUNSET}:
        return reached
    if released_at is None or at < released_at:
        return State.PREVIEW
    return reached or State.ACTIVE


def _reached(schedule: Schedule, at: dt.datetime, tenant_id: int | None) -> State | None:
    """The last step of the schedule that has come; None before its announcement."""
    if at >= schedule.sunset_for(tenant_id):
        return State.SUNSET
    if at >= schedule.deprecate_at:
        return State.DEPRECATED
    return State.ANNOUNCED if schedule.announced(at) else None


def judge(
    schedule: Schedule | None, *, at: dt.datetime, tenant_id: int, call_id: str, field: str | None = None
) -> Deprecation | None:
    """What the answer must say, or None before the announcement. Raises :class:`Ended`; nothing was charged then.

    ``field`` names the part of the call that selected the subject, for the refusal.
    """
    if schedule is None or at < schedule.announce_at:
        return None
    sunset = schedule.sunset_for(tenant_id)
    deprecation = Deprecation(
        schedule.kind,
        schedule.subject,
        schedule.deprecate_at,
        sunset,
        schedule.successor,
        schedule.guide,
        in_force=at >= schedule.deprecate_at,
    )
    if at >= sunset:
        raise Ended(
            ErrorKind.GONE,
            f"{_named(schedule)} ended on {sunset:%Y-%m-%d}. Use {schedule.successor}; the guide is at {schedule.guide}.",
            deprecation,
            field=field,
        )
    window = brownout(schedule, at=at, tenant_id=tenant_id)
    if window is not None and window.strikes(call_id):
        whose = "rehearsed by your tenant" if window.tenant_id is not None else "planned for all tenants"
        raise Ended(
            ErrorKind.BROWNOUT,
            f"{_named(schedule)} ends on {sunset:%Y-%m-%d}. In this brownout, {whose}, {window.share} % of its calls fail "
            f"until {window.ends_at:%Y-%m-%d %H:%M} UTC. Use {schedule.successor}; the guide is at {schedule.guide}.",
            deprecation,
            field=field,
            retry_after_s=(window.ends_at - at).total_seconds(),
        )
    return deprecation


def brownout(schedule: Schedule, *, at: dt.datetime, tenant_id: int) -> Window | None:
    """The window that the tenant's calls are in. One for all needs a deprecated subject; a rehearsal an announced one.

    Of several the one with the largest share counts: a small rehearsal is no shelter from a brownout of all.
    """
    running = []
    for window in schedule.brownouts:
        begins = schedule.deprecate_at if window.tenant_id is None else schedule.announce_at
        if window.tenant_id in {None, tenant_id} and max(begins, window.starts_at) <= at < window.ends_at:
            running.append(window)
    return max(running, key=lambda window: window.share, default=None)


def planned(schedule: Schedule, *, at: dt.datetime) -> tuple[Window, ...]:
    """The brownouts of all tenants that are not over, soonest first; one that was called off has no length."""
    found = [one for one in schedule.brownouts if one.tenant_id is None and max(at, one.starts_at) < one.ends_at]
    return tuple(sorted(found, key=lambda one: one.starts_at))


def _named(schedule: Schedule) -> str:
    kinds = {"api_version": "API version", "graphql_field": "The GraphQL field"}
    return f"{kinds.get(schedule.kind, 'The model version')} {schedule.subject}"
