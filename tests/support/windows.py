"""Windows of limits, for tests that are not about their ends."""

import time
from types import SimpleNamespace
from typing import Final

import pytest

AGES_S: Final = 1_000_000_000
"""A fixed window begins at multiples of its length since 1970, and one that begins between two calls of a test forgets the
first. This one begins in 2033."""


def left_s() -> float:
    """Until it ends, in seconds."""
    return AGES_S - time.time() % AGES_S


_ENOUGH_S: Final = 15.0


def let_the_hour_end() -> None:
    """A test that began just before midnight (UTC) would see two days, or two months; before another hour, two hours."""
    left = 3_600 - time.time() % 3_600
    if left < _ENOUGH_S:
        time.sleep(left + 0.1)


def hold_rate_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """For django-ratelimit it is the same second until the test is over: its windows begin at a moment of each key's own."""
    now = time.time()
    monkeypatch.setattr("django_ratelimit.core.time", SimpleNamespace(time=lambda: now))
