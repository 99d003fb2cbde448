"""Waiting for what another process will do: look again until it is so, then go on; say what was seen when it is not.

The limit only ends a test that fails, so it is generous: a machine with other work takes ten times as long.
"""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE_S = 0.1


def until(look: Callable[[], T], good: Callable[[T], bool], *, within_s: float = 90.0) -> T:
    """Call ``look`` until ``good`` is content and give what it saw; AssertionError with the last sight after that time."""
    give_up = time.monotonic() + within_s
    while not good(seen := look()):
        assert time.monotonic() < give_up, f"still not so after {within_s} s: {seen!r}"
        time.sleep(_PAUSE_S)
    return seen


def settle_down(seconds: float) -> None:
    """Only wait: for that which must not happen."""
    time.sleep(seconds)
