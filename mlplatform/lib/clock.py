"""The one place that reads the wall clock, so that tests can walk it."""

import datetime as dt
import time


def now() -> dt.datetime:
    """The present moment, aware, UTC."""
    return dt.datetime.now(dt.UTC)


def monotonic() -> float:
    """Seconds on a clock that never steps back; for waits and ages inside one process."""
    return time.monotonic()
