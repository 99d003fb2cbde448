"""When people are told of a schedule, pure: a schedule and a moment in time in, what is due out.

Late is better than never, and once is better than twice: what was missed is still due, but of several missed steps of
the countdown only the newest is, because the others say what is no longer true.
"""

import datetime as dt
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from mlplatform.lib import dates
from tenants.deprecations.rules import Schedule, Window

COUNTDOWN_DAYS: Final = (90, 30, 7, 1)
BEFORE_BROWNOUT: Final = dt.timedelta(hours=24)


class MomentKind(StrEnum):
    """What a notice tells."""

    ANNOUNCEMENT = "announcement"
    COUNTDOWN = "countdown"
    BROWNOUT = "brownout"
    MESSAGE = "message"


@dataclass(frozen=True, slots=True)
class Moment:
    """One occasion to tell. ``name`` is unique in its schedule and is stored with the notice; ``at`` is when it was due.

    ``days`` is set in a countdown, ``window`` before a brownout.
    """

    name: str
    kind: MomentKind
    at: dt.datetime
    days: int = 0
    window: Window | None = None


def due(schedule: Schedule, at: dt.datetime, tenant_id: int | None = None) -> list[Moment]:
    """What the tenant must have been told by ``at``, oldest first; without a tenant, what one without extension must.

    The caller leaves out what was told already. Nothing is due before the announcement, nor from the tenant's own
    sunset on.
    """
    if not schedule.announce_at <= at < schedule.sunset_for(tenant_id):
        return []
    found = [Moment("announcement", MomentKind.ANNOUNCEMENT, schedule.announce_at)]
    passed = [step for step in countdown(schedule, tenant_id) if step.at <= at]
    found += passed[-1:]
    found += [moment for moment in brownouts(schedule) if moment.at <= at < _end_of(moment)]
    return sorted(found, key=lambda moment: moment.at)


def countdown(schedule: Schedule, tenant_id: int | None = None) -> list[Moment]:
    """The steps towards the tenant's own sunset that come after the announcement, in order.

    A tenant with an extension has a countdown of its own, whose names carry its date: who was told of the common end a
    week before is told again before its own.
    """
    sunset = schedule.sunset_for(tenant_id)
    suffix = f":{sunset:%Y-%m-%d}" if sunset > schedule.sunset_at else ""
    steps = [
        Moment(f"{days}d{suffix}", MomentKind.COUNTDOWN, sunset - dt.timedelta(days=days), days)
        for days in COUNTDOWN_DAYS
    ]
    return [step for step in steps if step.at > schedule.announce_at]


def brownouts(schedule: Schedule) -> list[Moment]:
    """A day before each brownout of all tenants, or at the announcement where that is later.

    A window that was stopped before it began has no length, and is not announced.
    """
    return [
        Moment(
            f"brownout:{window.id}",
            MomentKind.BROWNOUT,
            max(window.starts_at - BEFORE_BROWNOUT, schedule.announce_at),
            window=window,
        )
        for window in sorted(schedule.brownouts, key=lambda window: window.starts_at)
        if window.tenant_id is None and window.starts_at < window.ends_at
    ]


def label(name: str) -> str:
    """A stored moment for people: ``30d`` is ``30 days before``."""
    kind, _, rest = name.partition(":")
    if kind == MomentKind.BROWNOUT:
        return "before a brownout"
    if kind == MomentKind.MESSAGE:
        return "a message"
    if kind.endswith("d") and kind[:-1].isdigit():
        days = "1 day" if kind == "1d" else f"{kind[:-1]} days"
        return f"{days} before its own end on {dates.day(dt.date.fromisoformat(rest))}" if rest else f"{days} before"
    return kind


def _end_of(moment: Moment) -> dt.datetime:
    return moment.window.ends_at if moment.window is not None else moment.at
