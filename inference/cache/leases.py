"""A claim in the cache Redis names the process that computes an input, so that concurrent equal inputs are computed once.

A claim is a lease of two seconds, which its process renews while the computation runs: a killed process delays others no
longer than that. The worker ends it when it keeps the answer (``cache.keep``), the process that holds it when there will be none.
Claims save work and decide nothing: without them, because Redis is away or forgot them, an input is computed twice.

Everything here belongs to the event loop's thread.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from inference.cache import links, store
from inference.cache.store import Entry
from inference.cache.waiters import SharedWork
from mlplatform.lib import event_loop, redis
from mlplatform.lib.redis_link import Answers

LEASE_S: Final = 2.0
_RENEW_S: Final = 0.5
_LUA: Final = Path(__file__).parent
_TAKE: Final = redis.Script(_LUA / "claim.lua")
_CHANGE: Final = redis.Script(_LUA / "unclaim.lua")

_held: dict[bytes, SharedWork] = {}
"""What this process computes for all, by lease key. The token of a claim is the id of the hold that pays for it."""

_timer: asyncio.TimerHandle | None = None


def take(works: Sequence[SharedWork], done: Callable[[list[Entry | bool]], None]) -> None:
    """``done`` gets for each input its answer, if it came meanwhile; else whether it is this process that must compute it.

    One round trip. Everything must be computed here while the cache Redis is away.
    """
    names = [name for work in works for name in (store.ENTRY + work.cache_key, store.CLAIM + work.lease_key)]

    def taken(answers: Answers | Exception) -> None:
        found: Any = answers if isinstance(answers, Exception) else answers[0]
        if isinstance(found, Exception):
            store.failed("claim")
            found = [1] * len(works)
        done([_taken(work, answer) for work, answer in zip(works, found, strict=True)])

    links.run(_TAKE, names, _arguments(LEASE_S, works), taken)


def _taken(work: SharedWork, answer: int | bytes) -> Entry | bool:
    if answer == 1:
        _held[work.lease_key] = work
        if _timer is None:
            _set_timer()
        return True
    return False if isinstance(answer, int) else store.unpack(answer) or True


def end(works: Sequence[SharedWork]) -> None:
    """The calls that began these computations have ended. Claims on inputs that stay unanswered are given back, so that another
    process begins.

    A computation that others in this process still wait for keeps its claim; the worker ends it with the answer.
    """
    lost: list[SharedWork] = []
    for work in works:
        if _held.get(work.lease_key) is work and work.abandoned:
            del _held[work.lease_key]
            if work.scores is None:
                lost.append(work)
    if lost and not store.is_away():
        _change(0, lost, lambda _: None)


def renew() -> None:
    """Keep the claims of what is still computed, and forget those of what is not."""
    end([*_held.values()])
    running = [*_held.values()]
    if not running or store.is_away():
        return

    def renewed(answers: Sequence[int]) -> None:
        for work, ours in zip(running, answers, strict=True):
            if not ours and _held.get(work.lease_key) is work:
                del _held[work.lease_key]

    _change(LEASE_S, running, renewed)


def held() -> list[bytes]:
    """The lease keys that this process holds."""
    return [*_held]


def forget() -> None:
    """Drop everything; for tests and forked processes."""
    global _timer
    _held.clear()
    _timer = None


def _set_timer() -> None:
    global _timer
    _timer = event_loop.get().call_later(_RENEW_S, _tick)


def _tick() -> None:
    global _timer
    _timer = None
    try:
        renew()
    finally:
        if _held:
            _set_timer()


def _change(lease_s: float, works: Sequence[SharedWork], done: Callable[[Sequence[int]], None]) -> None:
    def changed(answers: Answers | Exception) -> None:
        found: Any = answers if isinstance(answers, Exception) else answers[0]
        if isinstance(found, Exception):
            store.failed("claim")
        else:
            done(found)

    links.run(_CHANGE, [store.CLAIM + work.lease_key for work in works], _arguments(lease_s, works), changed)


def _arguments(lease_s: float, works: Sequence[SharedWork]) -> list[bytes]:
    return [str(int(lease_s * 1000)).encode(), *(work.hold.hold_id.encode() for work in works)]


# A forked child computes nothing of what its parent does.
os.register_at_fork(after_in_child=forget)
