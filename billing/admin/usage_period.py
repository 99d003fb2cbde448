"""The period that daily usage is listed and summed over: a month, or what a person chose, within what can be read at once."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from django.http import QueryDict

from mlplatform.lib import clock, dates

FROM: Final = "day_from"
TO: Final = "day_to"
_USUAL_DAYS: Final = 30
_PRESETS: Final = ((7, "7 days"), (30, "30 days"), (90, "90 days"), (365, "1 year"))


@dataclass(frozen=True, slots=True)
class Period:
    """Both days are in it. ``cut`` tells that more was asked for than is shown."""

    first: dt.date
    last: dt.date
    cut: bool = False

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1

    @property
    def title(self) -> str:
        return dates.day(self.first) if self.days == 1 else f"{dates.day(self.first)} – {dates.day(self.last)}"

    def parts(self, length: int) -> Iterator[tuple[dt.date, dt.date]]:
        """First and last day of each part of so many days; the first part may be shorter."""
        first = self.first
        while first <= self.last:
            left = (self.last - first).days + 1
            last = first + dt.timedelta(days=(left % length or length) - 1)
            yield first, last
            first = last + dt.timedelta(days=1)


def chosen(query: QueryDict, *, most_days: int) -> Period:
    """By the filter of days; a month up to today without it. Of a longer period the latest ``most_days`` remain."""
    last = _day(query.get(TO, "")) or clock.now().date()
    first = _day(query.get(FROM, "")) or last - dt.timedelta(days=_USUAL_DAYS - 1)
    first = min(first, last)
    earliest = last - dt.timedelta(days=most_days - 1)
    return Period(max(first, earliest), last, cut=first < earliest)


def presets(query: QueryDict, now: Period, *, most_days: int) -> list[tuple[str, str, bool]]:
    """Usual periods up to today: their names, their addresses that keep all other filters, and which one is shown."""
    today = clock.now().date()
    found = []
    for days, title in _PRESETS:
        if days > most_days:
            continue
        first = today - dt.timedelta(days=days - 1)
        link = query.copy()
        link.pop("p", None)
        link[FROM], link[TO] = first.isoformat(), today.isoformat()
        found.append((title, f"?{link.urlencode()}", (now.first, now.last) == (first, today)))
    return found


def _day(text: str) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        return None
