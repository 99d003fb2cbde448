"""One input on its way through a batch, and what waits for its answer."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from inference.types import REFUSE, Priority, TextLength
from mlplatform.lib import clock
from mlplatform.lib.errors import PlatformError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Hold:
    """Units that were reserved for this input; the worker that computed it settles them.

    An empty ``hold_id`` reserved nothing: the input is computed for the tenant, and nothing is settled.
    """

    hold_id: str
    tenant_id: int
    shard: int


@dataclass(eq=False, slots=True)
class WorkItem:
    """One input that waits to be computed; it belongs to the event loop's thread.

    ``payload`` is the canonical input; ``cache_key`` is empty when the answer must not be kept; ``deadline`` is on the
    monotonic clock. ``weight`` is the tenant's share of busy workers, ``size`` what the input costs in tokens, or 1 for
    what has none. ``truncate`` is whether it may be cut; ``length`` is set with the answer of one that
    was, and with the refusal of one that may not be. Equal inputs share one item: it is dropped only when no call waits for it
    any more.
    """

    payload: bytes
    cache_key: bytes
    hold: Hold
    deadline: float
    queued_at: float = field(default_factory=clock.monotonic)
    priority: Priority = Priority.INTERACTIVE
    weight: int = 1
    size: int = 1
    truncate: int = REFUSE
    length: TextLength | None = None
    scores: bytes | None = None
    error: PlatformError | None = None
    _waiters: int = 1
    _unpaid: bool = False
    _done: bool = False
    _callbacks: list[Callable[["WorkItem"], None]] = field(default_factory=list)

    def join(self, deadline: float) -> bool:
        """Wait for this item too, for an equal input; False if all waiters have left it or it failed."""
        if self._waiters == 0 or (self._done and self.scores is None):
            return False
        self._waiters += 1
        self.deadline = max(self.deadline, deadline)
        return True

    def leave(self, *, unpaid: bool = False) -> None:
        """One waiter gives up; ``unpaid`` when its hold was to pay for the computation and was given back."""
        self._waiters -= 1
        self._unpaid = self._unpaid or unpaid

    def claim_charge(self) -> bool:
        """Whether the asking call must pay for the computation, because the call that began it has left; true once."""
        taken, self._unpaid = self._unpaid, False
        return taken

    @property
    def abandoned(self) -> bool:
        """Whether no call waits for it any more."""
        return self._waiters <= 0 or self._done

    @property
    def is_done(self) -> bool:
        """Whether it has its answer or its failure."""
        return self._done

    def when_done(self, callback: Callable[["WorkItem"], None]) -> None:
        """Call ``callback`` with this item once it has its answer or its failure; at once if it has. What it raises is logged."""
        if self._done:
            self._tell(callback)
        else:
            self._callbacks.append(callback)

    def succeed(self, scores: bytes, length: TextLength | None = None) -> None:
        """Give the answer to every call that waits, with the length of an input that was cut; the first call counts."""
        self._end(scores, None, length)

    def fail(self, error: PlatformError) -> None:
        """Give the failure to all waiters; the first call counts."""
        self._end(None, error, None)

    def refuse(self, length: TextLength) -> None:
        """Tell all waiters that the input is too long, and may not be cut; the first call counts."""
        self._end(None, None, length)

    def _end(self, scores: bytes | None, error: PlatformError | None, length: TextLength | None) -> None:
        if self._done:
            return
        self.scores, self.error, self.length = scores, error, length
        self._done = True
        # Let go of what waited: it knows this item, and a circle would outlive both.
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            self._tell(callback)

    def _tell(self, callback: Callable[["WorkItem"], None]) -> None:
        try:
            callback(self)
        except Exception:
            logger.exception("a callback of an answered input failed")
