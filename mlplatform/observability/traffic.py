"""How many calls were answered, and how: counted in memory, gathered in Redis each second, shown on the admin's start page."""

import datetime as dt
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from mlplatform.lib import clock, redis
from mlplatform.lib.background import Ticker

_KEPT_S: Final = 3 * 86_400
DAYS_KEPT: Final = 3
"""Days of which counts can be read: today and the two before it."""


class Outcome(StrEnum):
    """How a call ended. A planned brownout is no failure, though its status is 503."""

    ANSWERED = "2xx"
    REFUSED = "4xx"
    OVER_LIMIT = "429"
    FAILED = "5xx"
    BROWNOUT = "brownout"


@dataclass(frozen=True, slots=True)
class Counts:
    """Calls of an hour or of several, by outcome."""

    answered: int = 0
    refused: int = 0
    over_limit: int = 0
    failed: int = 0
    brownouts: int = 0

    @classmethod
    def total(cls, parts: Iterable["Counts"]) -> "Counts":
        """The sum of several counts."""
        rows = [(one.answered, one.refused, one.over_limit, one.failed, one.brownouts) for one in parts]
        return cls(*(sum(column) for column in zip(*rows, strict=True))) if rows else cls()

    @property
    def requests(self) -> int:
        return self.answered + self.refused + self.over_limit + self.failed + self.brownouts

    @property
    def error_rate(self) -> float:
        """Share of calls that failed by a fault of the platform, 0 to 1; calls in a planned brownout count on neither side."""
        judged = self.requests - self.brownouts
        return self.failed / judged if judged else 0.0


@dataclass(frozen=True, slots=True)
class Traffic:
    """Calls of one day (UTC). ``per_hour`` has 24 counts."""

    per_hour: tuple[Counts, ...]

    @property
    def total(self) -> Counts:
        return Counts.total(self.per_hour)


_lock = threading.Lock()
_seen: list[tuple[int, int, bool]] = []
"""The hour since 1970, the status, and whether a planned brownout refused the call. Appending needs no lock."""
_counted: Counter[tuple[int, int, bool]] = Counter()
"""How many there were of each, and are not sent yet."""


def outcome_of(status: int, *, brownout: bool = False) -> Outcome:
    """The outcome that an HTTP status stands for; ``brownout`` tells a planned 503 from a failure."""
    if brownout:
        return Outcome.BROWNOUT
    if status == 429:
        return Outcome.OVER_LIMIT
    return Outcome.ANSWERED if status < 400 else Outcome.REFUSED if status < 500 else Outcome.FAILED


def count(status: int, *, brownout: bool = False) -> None:
    """One more call was answered with this HTTP status."""
    hour = int(clock.now().timestamp()) // 3600
    _seen.append((hour, status, brownout))
    _ticker.ensure_started()


def gather() -> None:
    """Send what this process counted to Redis; on failure it is kept for the next try."""
    global _counted
    with _lock:
        # What is appended meanwhile stays for the next time.
        seen = _seen[:]
        del _seen[: len(seen)]
        _counted.update(seen)
        counted, _counted = _counted, Counter()
    if not counted:
        return
    try:
        pipe = redis.state().pipeline(transaction=True)
        for (hour, status, brownout), number in counted.items():
            outcome = outcome_of(status, brownout=brownout)
            moment = dt.datetime.fromtimestamp(hour * 3600, dt.UTC)
            key = _key(moment.date())
            pipe.hincrby(key, f"{moment.hour:02d}:{outcome}", number)
            pipe.expire(key, _KEPT_S)
        pipe.execute()
    except redis.FAILURES:
        with _lock:
            _counted.update(counted)


def of_days(days: Sequence[dt.date]) -> list[Traffic]:
    """The calls of each of these days. Raises what Redis raises."""
    pipe = redis.state().pipeline(transaction=False)
    for day in days:
        pipe.hgetall(_key(day))
    return [_parsed(fields) for fields in pipe.execute()]


def of_day(day: dt.date) -> Traffic:
    """The calls of one day. Raises what Redis raises."""
    (found,) = of_days([day])
    return found


def today() -> Traffic:
    """The calls of today so far."""
    return of_day(clock.now().date())


def latest(hours: int) -> Counts:
    """The calls of the running hour and the hours before it, ``hours`` in all, at most 24. Raises what Redis raises."""
    now = clock.now()
    yesterday, today_so_far = of_days([now.date() - dt.timedelta(days=1), now.date()])
    both = (*yesterday.per_hour, *today_so_far.per_hour[: now.hour + 1])
    return Counts.total(both[-hours:])


def forget() -> None:
    """Drop what this process counted and did not send yet; for tests."""
    with _lock:
        _seen.clear()
        _counted.clear()


def _parsed(fields: dict[bytes, bytes]) -> Traffic:
    found: dict[tuple[int, str], int] = {}
    for field, number in fields.items():
        hour, _, outcome = redis.as_bytes(field).decode().partition(":")
        found[int(hour), outcome] = int(number)
    return Traffic(tuple(Counts(*(found.get((hour, outcome), 0) for outcome in Outcome)) for hour in range(24)))


def _key(day: dt.date) -> str:
    return f"traffic:{day.isoformat()}"


_ticker = Ticker("traffic", 1.0, gather, hands_over=True)
