"""Waiting for an answer that another process computes: one thread looks into the cache Redis for all who wait.

It looks every few milliseconds, less often the longer the last one waits, and only while somebody does. When the claim is
gone and no answer came (its process died, its call was given up, the model failed), each who waited computes it himself.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client import Counter

from inference.batching.work import WorkItem
from inference.cache import store
from inference.cache.store import Entry
from inference.types import REFUSE, ModelRef
from mlplatform.lib import clock, redis
from mlplatform.lib.background import start_watched
from mlplatform.lib.errors import PlatformError, unavailable

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


@dataclass(frozen=True, slots=True)
class _Follow:
    ref: ModelRef
    work: SharedWork
    compute: Compute
    since: float


_changed = threading.Condition()
_waiting: list[_Follow] = []
_thread: threading.Thread | None = None


def follow(ref: ModelRef, work: SharedWork, compute: Compute) -> None:
    """Answer ``work`` when the process that claimed its input has the answer, or have it computed when it never will."""
    global _thread
    with _changed:
        _waiting.append(_Follow(ref, work, compute, clock.monotonic()))
        if _thread is None or not _thread.is_alive():
            _thread = start_watched(_look_forever, name="cache-follower")
        _changed.notify()


def look() -> None:
    """Answer those whose answer is there, and let those compute whose claim is gone. One round trip for all."""
    with _changed:
        follows = list(_waiting)
    if not follows:
        return
    for follow in _settled(follows):
        with _changed:
            _waiting.remove(follow)


def forget() -> None:
    """Drop everything; for tests."""
    with _changed:
        _waiting.clear()


def _settled(follows: Sequence[_Follow]) -> list[_Follow]:
    """Those that need not be looked for any more."""
    keys = [follow.work.cache_key for follow in follows]
    leases = [follow.work.lease_key for follow in follows]
    try:
        found = redis.cache().mget([store.ENTRY + key for key in keys] + [store.CLAIM + lease for lease in leases])
    except redis.FAILURES:
        store.failed("follow")
        found = [None] * (2 * len(keys))
    ended = []
    for follow, value, claim in zip(follows, found[: len(keys)], found[len(keys) :], strict=True):
        entry = store.usable(store.unpack(value), follow.ref)
        if follow.work.abandoned:
            ended.append(follow)
        elif entry is not None:
            store.local.put(follow.work.cache_key, entry)
            _answered.inc()
            follow.work.answer(entry)
            ended.append(follow)
        elif claim is None or value is not None:
            _alone.inc()
            _compute(follow)
            ended.append(follow)
    return ended


def _compute(follow: _Follow) -> None:
    try:
        follow.compute(follow.ref, follow.work)
    except PlatformError as problem:
        follow.work.fail(problem)
    except Exception:
        logger.exception("an input whose computation was lost elsewhere could not be computed here")
        follow.work.fail(unavailable("The prediction was lost; please try again."))


def _look_forever() -> None:
    while True:
        with _changed:
            while not _waiting:
                _changed.wait()
            newest = max(follow.since for follow in _waiting)
        time.sleep(min(_LONGEST_S, max(_SHORTEST_S, (clock.monotonic() - newest) / _SHARE)))
        try:
            look()
        except Exception:
            # Whoever waits has a deadline of his own; the thread must live for the next ones.
            logger.exception("looking for the answers of other processes failed")
