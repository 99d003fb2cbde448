"""Where the bars of the timeline lie: versions and moments in, percents of the chart's width out. Pure."""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from billing.metering.version_use import Use
from mlplatform.lib import dates
from tenants.deprecations.rules import Schedule, Window

_BEFORE: Final = dt.timedelta(days=75)
_LONGEST_BEFORE: Final = dt.timedelta(days=366)
_AFTER: Final = dt.timedelta(days=240)
_LONGEST_AFTER: Final = dt.timedelta(days=3 * 366)
_ROOM: Final = dt.timedelta(days=40)
_NAMED_WIDTH: Final = 6.0
"""Percent from which a bar is wide enough for its name."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A version with its end. ``starts_at`` is its release; None while it is a preview without a date.

    ``model`` is the qualified name of the model of which it is a version. ``can_end`` says whether an end can be planned.
    """

    kind: str
    subject: str
    state: str
    starts_at: dt.datetime | None
    schedule: Schedule | None
    use: Use
    note: str = ""
    model: str = ""
    can_end: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch of one state; ``left`` and ``width`` in percent of the chart.

    ``shift`` moves the name to the right of today's line where that would cross it; percent, too.
    """

    state: str
    left: float
    width: float
    text: str
    cut: bool = False
    shift: float = 0.0

    @property
    def name(self) -> str:
        """What is written on it; nothing on a narrow one, whose text is on the pointer."""
        return self.state.title() if self.width >= _NAMED_WIDTH else ""


@dataclass(frozen=True, slots=True)
class Mark:
    """A brownout, or a month of the head; percents. ``year`` stands below the first month and each January."""

    left: float
    width: float
    text: str
    over: bool = False
    year: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One version's row; ``text`` says in words what the bars show."""

    entry: Entry
    bars: tuple[Bar, ...]
    ticks: tuple[Mark, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that will happen."""

    at: dt.datetime
    subject: str
    text: str
    schedule_id: int | None


@dataclass(frozen=True, slots=True)
class Chart:
    months: tuple[Mark, ...]
    today: float
    lines: tuple[Line, ...]
    coming: tuple[Moment, ...]


@dataclass(frozen=True, slots=True)
class _Axis:
    first: dt.datetime
    last: dt.datetime

    def percent(self, moment: dt.datetime) -> float:
        clipped = min(max(moment, self.first), self.last)
        return round(100 * ((clipped - self.first) / (self.last - self.first)), 3)

    def months(self) -> Iterator[Mark]:
        month = self.first
        while month < self.last:
            following = _next_month(month)
            year = f"{month:%Y}" if month == self.first or month.month == 1 else ""
            left = self.percent(month)
            yield Mark(left, round(self.percent(following) - left, 3), f"{month:%b}", year=year)
            month = following


def chart(entries: Sequence[Entry], *, now: dt.datetime, shown: Sequence[Entry] | None = None) -> Chart:
    """The whole chart: its months reach from the first announcement, a year back at most, to what was planned last.

    Only what is ``shown`` has a line, on the same months; all without it.
    """
    axis = _axis(entries, now)
    return Chart(
        months=tuple(axis.months()),
        today=axis.percent(now),
        lines=tuple(_line(entry, axis, now) for entry in (entries if shown is None else shown)),
        coming=tuple(sorted(_coming(entries, now), key=lambda moment: moment.at)),
    )


def _axis(entries: Sequence[Entry], now: dt.datetime) -> _Axis:
    begun = [entry.schedule.announce_at - _ROOM for entry in entries if entry.schedule]
    ends = [end for entry in entries if entry.schedule for end in _ends(entry.schedule)]
    first = max(min([now - _BEFORE, *begun]), now - _LONGEST_BEFORE)
    last = min(max([now + _AFTER, *(end + _ROOM for end in ends)]), now + _LONGEST_AFTER)
    return _Axis(_month(first), _next_month(_month(last)))


def _ends(schedule: Schedule) -> list[dt.datetime]:
    return [schedule.sunset_at, *schedule.extensions.values()]


def _line(entry: Entry, axis: _Axis, now: dt.datetime) -> Line:
    stretches = list(_stretches(entry, axis))
    bars = [
        _bar(axis, state, since, until, text, today=axis.percent(now))
        for state, since, until, text in stretches
        if until > axis.first and since < axis.last and since < until
    ]
    windows = entry.schedule.brownouts if entry.schedule is not None else ()
    ticks = [_tick(window, axis, now) for window in windows if _for_all(window)]
    said = [text for _, since, until, text in stretches if since < until] + [tick.text for tick in ticks]
    return Line(entry, tuple(bars), tuple(ticks), f"{entry.subject}: {'; '.join(said)}." if said else entry.subject)


def _bar(axis: _Axis, state: str, since: dt.datetime, until: dt.datetime, text: str, *, today: float) -> Bar:
    left = axis.percent(since)
    width = round(axis.percent(until) - left, 3)
    before = today - left
    crossed = 0 < before < _NAMED_WIDTH and width - before >= _NAMED_WIDTH
    return Bar(state, left, width, text, until >= axis.last, round(before, 3) if crossed else 0.0)


def _for_all(window: Window) -> bool:
    """Whether it concerns all tenants; a brownout that was called off before it began has no length."""
    return window.tenant_id is None and window.ends_at > window.starts_at


def _tick(window: Window, axis: _Axis, now: dt.datetime) -> Mark:
    left = axis.percent(window.starts_at)
    until = _short(window.starts_at, window.ends_at)
    text = f"brownout of {window.share} % from {dates.moment(window.starts_at)} to {until}"
    return Mark(left, round(axis.percent(window.ends_at) - left, 3), text, window.ends_at <= now)


def _short(starts: dt.datetime, ends: dt.datetime) -> str:
    return f"{ends:%H:%M} UTC" if starts.date() == ends.date() else dates.moment(ends)


def _stretches(entry: Entry, axis: _Axis) -> Iterator[tuple[str, dt.datetime, dt.datetime, str]]:
    """State, since, until, words; in the order of time. A schedule in the midst of a preview ends that, too."""
    end = entry.schedule
    begins = entry.starts_at
    first_end = end.announce_at if end else axis.last
    if begins is None or begins > axis.first:
        until = min(begins or axis.last, first_end)
        if entry.state == "preview":
            yield "preview", axis.first, until, f"preview until {dates.day(until)}" if begins else "preview"
    if begins is not None:
        until = max(begins, first_end)
        yield "active", begins, until, f"active since {dates.day(begins)}"
    if end is None:
        return
    yield "announced", end.announce_at, end.deprecate_at, f"its end announced {dates.day(end.announce_at)}"
    yield "deprecated", end.deprecate_at, end.sunset_at, f"deprecated {dates.day(end.deprecate_at)}"
    yield "sunset", end.sunset_at, axis.last, f"sunset {dates.day(end.sunset_at)}"
    longest = max([until for until in end.extensions.values() if until > end.sunset_at], default=None)
    if longest is not None:
        many = len(end.extensions)
        who = "one tenant" if many == 1 else f"{many} tenants"
        yield "extended", end.sunset_at, longest, f"extended for {who} until {dates.day(longest)} at the latest"


def _coming(entries: Sequence[Entry], now: dt.datetime) -> Iterator[Moment]:
    for entry in entries:
        if entry.starts_at is not None and entry.starts_at > now:
            yield Moment(entry.starts_at, entry.subject, "is released", entry.schedule.id if entry.schedule else None)
        end = entry.schedule
        if end is None:
            continue
        steps = [
            (end.announce_at, "its end is announced"),
            (end.deprecate_at, f"is deprecated in favour of {end.successor}"),
            (end.sunset_at, "ends: calls get 410 Gone"),
        ]
        steps += [
            (window.starts_at, f"brownout of {window.share} % until {_short(window.starts_at, window.ends_at)}")
            for window in end.brownouts
            if _for_all(window)
        ]
        steps += [(until, "ends for a tenant with an extension") for until in end.extensions.values()]
        yield from (Moment(at, entry.subject, text, end.id) for at, text in steps if at > now)


def _month(moment: dt.datetime) -> dt.datetime:
    return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _next_month(month: dt.datetime) -> dt.datetime:
    return _month(month + dt.timedelta(days=32))
