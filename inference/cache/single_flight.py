"""Computations that run in this process, by lease key, so that concurrent equal inputs are computed once.

``inference.cache.leases`` does the same between processes. Everything here belongs to the event loop's thread.
"""

from inference.cache.waiters import SharedWork

_running: dict[bytes, SharedWork] = {}


def join(key: bytes, deadline: float) -> SharedWork | None:
    """Wait with the computation of an equal input, if one runs."""
    item = _running.get(key)
    return item if item is not None and item.join(deadline) else None


def begin(key: bytes, item: SharedWork, *, may_join: bool) -> SharedWork | None:
    """Let equal inputs join this one; or give the equal one to wait with, which began since :func:`join` found none.

    Without ``may_join`` (a call that wants a fresh answer) the later of two is the one that others join.
    """
    running = _running.get(key) if may_join else None
    if running is not None and running.join(item.deadline):
        return running
    _running[key] = item
    return None


def end(key: bytes, item: SharedWork) -> None:
    """The computation is over; its answer must be in the cache by now, so that an equal input finds one or the other."""
    if _running.get(key) is item:
        del _running[key]


def under_way() -> list[SharedWork]:
    """The computations that equal inputs may join now."""
    return [*_running.values()]


def forget() -> None:
    """Drop everything; for tests."""
    _running.clear()
