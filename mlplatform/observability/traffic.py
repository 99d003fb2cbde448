"""How many calls were answered, and how: counted in memory, gathered in Redis each second, shown on the admin's start page."""

import datetime as dt
import threading
from collections import Counter
from dataclasses import dataclass
from typing import Final

from mlplatform.lib import clock, redis
from mlplatform.lib.background import Ticker

_KEPT_S: Final = 3 * 86_400
_CLASSES: Final = ("2xx", "4xx", "5xx")


@dataclass(frozen=True, slots=True)
class Traffic:
    """Calls of one day (UTC). ``per_hour`` has 24 numbers."""

    requests: int
    client_errors: int
    server_errors: int
    per_hour: list[int]

    @property
    def error_rate(self) -> float:
        """Share of calls that failed by our fault, 0 to 1."""
        return self.server_errors / self.requests if self.requests else 0.0


_lock = threading.Lock()
_counted: Counter[tuple[int, str]] = Counter()
"""By the hour since 1970 and the class of the status."""


def count(status: int) -> None:
    """One more call was answered with this HTTP status."""
    hour = int(clock.now().timestamp()) // 3600
    with _lock:
        _counted[hour, _CLASSES[0] if status < 400 else _CLASSES[1] if status < 500 else _CLASSES[2]] += 1
    _ticker.ensure_started()


def gather() -> None:
    """Send what this process counted to Redis; on failure it is kept for the next try."""
    global _counted
    with _lock:
        counted, _counted = _counted, Counter()
    if not counted:
        return
    try:
        pipe = redis.state().pipeline(transaction=True)
        for (hour, status), number in counted.items():
            moment = dt.datetime.fromtimestamp(hour * 3600, dt.UTC)
            key = _key(moment.date().isoformat())
            pipe.hincrby(key, f"{moment.hour:02d}:{status}", number)
            pipe.expire(key, _KEPT_S)
        pipe.execute()
    except redis.FAILURES:
        with _lock:
            _counted.update(counted)


def of_day(day: dt.date) -> Traffic:
    """The calls of one day. Raises what Redis raises."""
    per_hour = [0] * 24
    by_class: Counter[str] = Counter()
    for field, number in redis.state().hgetall(_key(day.isoformat())).items():
        hour, _, status = redis.as_bytes(field).decode().partition(":")
        per_hour[int(hour)] += int(number)
        by_class[status] += int(number)
    return Traffic(
        requests=sum(per_hour),
        client_errors=by_class["4xx"],
        server_errors=by_class["5xx"],
        per_hour=per_hour,
    )


def today() -> Traffic:
    """The calls of today so far."""
    return of_day(clock.now().date())


def forget() -> None:
    """Drop what this process counted and did not send yet; for tests."""
    with _lock:
        _counted.clear()


def _key(day: str) -> str:
    return f"traffic:{day}"


_ticker = Ticker("traffic", 1.0, gather)
