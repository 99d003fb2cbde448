"""A claim in the cache Redis names the process that computes an input, so that concurrent equal inputs are computed once.

A claim is a lease of two seconds, which its process renews while the computation runs: a killed process delays others no
longer than that. The worker ends it when it keeps the answer (``cache.keep``), the process that holds it when there will be none.
Claims save work and decide nothing: without them, because Redis is away or forgot them, an input is computed twice.
"""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from billing.admission import connection
from inference.cache import store
from inference.cache.store import Entry
from inference.cache.waiters import SharedWork
from mlplatform.lib import redis
from mlplatform.lib.background import Ticker

T = TypeVar("T")

LEASE_S: Final = 2.0
_RENEW_S: Final = 0.5
_LUA: Final = Path(__file__).parent
TAKE: Final = redis.Script(_LUA / "claim.lua")
_CHANGE: Final = redis.Script(_LUA / "unclaim.lua")

_lock = threading.Lock()
_held: dict[bytes, SharedWork] = {}
"""What this process computes for all, by lease key. The token of a claim is the id of the hold that pays for it."""


def take(works: Sequence[SharedWork]) -> list[Entry | bool]:
    """For each input its answer, if it came meanwhile; else whether it is this process that must compute it.

    One round trip. Everything must be computed here while the cache Redis is away.
    """
    if not works or store.is_away():
        return [True] * len(works)
    names, arguments = taking(works)
    return taken(works, _asked(lambda: connection.run(redis.cache(), TAKE, names, arguments), instead=[1] * len(works)))


def taking(works: Sequence[SharedWork]) -> tuple[list[bytes], list[bytes]]:
    """Keys and arguments of :data:`TAKE` for these inputs."""
    names = [name for work in works for name in (store.ENTRY + work.cache_key, store.CLAIM + work.lease_key)]
    return names, _arguments(LEASE_S, works)


def taken(works: Sequence[SharedWork], answers: Sequence[int | bytes]) -> list[Entry | bool]:
    """What the answers of :data:`TAKE` say, as :func:`take` does; what is this process's is held from now on."""
    outcomes: list[Entry | bool] = []
    with _lock:
        for work, answer in zip(works, answers, strict=True):
            if answer == 1:
                _held[work.lease_key] = work
            outcomes.append(answer == 1 if isinstance(answer, int) else store.unpack(answer) or True)
    if _held:
        _ticker.ensure_started()
    return outcomes


def end(works: Sequence[SharedWork]) -> None:
    """The call that began these computations ends. Claims on inputs that stay unanswered are given back, so that others begin.

    A computation that others in this process still wait for keeps its claim; the worker ends it with the answer.
    """
    give_back(ended(works))


def ended(works: Sequence[SharedWork]) -> list[SharedWork]:
    """As :func:`end`, but for the claims themselves: those that must be given back."""
    lost: list[SharedWork] = []
    with _lock:
        for work in works:
            if _held.get(work.lease_key) is work and work.abandoned:
                del _held[work.lease_key]
                if work.scores is None:
                    lost.append(work)
    return lost


def renew() -> None:
    """Keep the claims of what is still computed, and forget those of what is not. A background thread calls it."""
    with _lock:
        works = list(_held.values())
    end(works)
    running = [work for work in works if _held.get(work.lease_key) is work]
    if not running or store.is_away():
        return
    names = [store.CLAIM + work.lease_key for work in running]
    answers = _asked(
        lambda: connection.run(redis.cache(), _CHANGE, names, _arguments(LEASE_S, running)), instead=[1] * len(running)
    )
    with _lock:
        for work, ours in zip(running, answers, strict=True):
            if not ours and _held.get(work.lease_key) is work:
                del _held[work.lease_key]


def held() -> list[bytes]:
    """The lease keys that this process holds."""
    return [*_held]


def forget() -> None:
    """Drop everything; for tests."""
    with _lock:
        _held.clear()


def give_back(works: Sequence[SharedWork]) -> None:
    """End these claims, so that another process begins; one round trip."""
    if works and not store.is_away():
        names = [store.CLAIM + work.lease_key for work in works]
        _asked(lambda: connection.run(redis.cache(), _CHANGE, names, _arguments(0, works)), instead=None)


def _arguments(lease_s: float, works: Sequence[SharedWork]) -> list[bytes]:
    return [str(int(lease_s * 1000)).encode(), *(work.hold.hold_id.encode() for work in works)]


def _asked(ask: Callable[[], T], *, instead: T) -> T:
    try:
        return ask()
    except redis.FAILURES:
        store.failed("claim")
        return instead


_ticker: Final = Ticker("cache-claims", _RENEW_S, renew)
