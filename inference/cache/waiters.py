"""Waiting for an answer that another process computes: the event loop looks into the cache Redis for all waiters.

It looks every few milliseconds, less often the longer the newest waiter waits, and only while there are waiters. When the claim
is gone and no answer came (its process died, its call was given up, the model failed), each waiter has the input computed.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client import Counter

from inference.batching.work import WorkItem
from inference.cache import links, store
from inference.cache.store import Entry
from inference.types import REFUSE, ModelRef
from mlplatform.lib import clock, event_loop
from mlplatform.lib.errors import PlatformError, unavailable
from mlplatform.lib.redis_link import Answers

logger = logging.getLogger(__name__)

_SHORTEST_S: Final = 0.003
_LONGEST_S: Final = 0.05
_SHARE: Final = 8  # of the time that was waited already

_follows = Counter(
    "mlplatform_cache_follows_total",
    "Inputs that waited for another process's computation of an equal one.",
    ["outcome"],
)
_answered, _alone = (_follows.labels(outcome) for outcome in ("answered", "computed-after-all"))


@dataclass(eq=False, slots=True)
class SharedWork(WorkItem):
    """An input whose equals may be computed anywhere. ``entry`` is set before it succeeds with another process's answer,
    which its caller then pays as a cached one."""

    entry: Entry | None = None

    @property
    def lease_key(self) -> bytes:
        """Under what it is known while it runs."""
        return store.lease_key(self.cache_key, self.truncate)

    def answer(self, entry: Entry) -> None:
        """Give all waiters what another process computed: where that cut a text which may not be cut, its length."""
        if entry.length is not None and self.truncate == REFUSE:
            self.refuse(entry.length)
            return
        self.entry = entry
        self.succeed(entry.scores, entry.length)


Compute = Callable[[ModelRef, SharedWork], None]
"""Has the input computed by a worker. Raises ``PlatformError`` where that is not possible."""


@dataclass(frozen=True, eq=False, slots=True)
class _Follow:
    ref: ModelRef
    work: SharedWork
    compute: Compute
    since: float


_waiting: list[_Follow] = []
_timer: asyncio.TimerHandle | None = None


def follow(ref: ModelRef, work: SharedWork, compute: Compute) -> None:
    """Answer ``work`` when the process that claimed its input has the answer, or have it computed when it never will."""
    event_loop.tell(_add, _Follow(ref, work, compute, clock.monotonic()))


def waiting() -> int:
    """How many inputs wait for other processes."""
    return len(_waiting)


def forget() -> None:
    """Drop everything; for tests."""
    if _waiting:
        event_loop.call(_waiting.clear)


def _add(follow: _Follow) -> None:
    _waiting.append(follow)
    if _timer is None:
        _set_timer()


def _set_timer() -> None:
    global _timer
    newest = max(follow.since for follow in _waiting)
    pause_s = min(_LONGEST_S, max(_SHORTEST_S, (clock.monotonic() - newest) / _SHARE))
    _timer = event_loop.get().call_later(pause_s, _look)


def _look() -> None:
    """One round trip for all."""
    follows = [*_waiting]
    if not follows:
        _looked([], [])
        return
    keys = [store.ENTRY + follow.work.cache_key for follow in follows]
    leases = [store.CLAIM + follow.work.lease_key for follow in follows]
    links.ask(("MGET", *keys, *leases), lambda answers: _looked(follows, answers))


def _looked(follows: Sequence[_Follow], answers: Answers | Exception) -> None:
    global _timer
    found: Any = answers if isinstance(answers, Exception) else answers[0] if answers else []
    if isinstance(found, Exception):
        store.failed("follow")
        found = [None] * (2 * len(follows))
    for follow, value, claim in zip(follows, found[: len(follows)], found[len(follows) :], strict=True):
        if follow in _waiting and _is_settled(follow, value, claim):
            _waiting.remove(follow)
    _timer = None
    if _waiting:
        _set_timer()


def _is_settled(follow: _Follow, value: bytes | None, claim: bytes | None) -> bool:
    """Whether it need not be looked for any more."""
    entry = store.usable(store.unpack(value), follow.ref)
    if follow.work.abandoned:
        return True
    if entry is not None:
        store.local.put(follow.work.cache_key, entry)
        _answered.inc()
        follow.work.answer(entry)
        return True
    if claim is None or value is not None:
        _alone.inc()
        _compute(follow)
        return True
    return False


def _compute(follow: _Follow) -> None:
    try:
        follow.compute(follow.ref, follow.work)
    except PlatformError as problem:
        follow.work.fail(problem)
    except Exception:
        logger.exception("an input whose computation was lost elsewhere could not be computed here")
        follow.work.fail(unavailable("The prediction was lost; please try again."))
