"""A transport whose worker is the test, and inputs to send over it."""

import queue
import threading
from collections.abc import Callable, Sequence

import pytest

from inference.batching.messages import BatchMessage, BatchReply
from inference.batching.work import Hold, WorkItem
from inference.fleet.workers import Capacity
from inference.types import Priority
from mlplatform.lib import clock, event_loop
from mlplatform.lib.errors import ErrorKind, PlatformError
from tests.inference.inputs.test_canonical import reference
from tests.support.on_loop import asked

MODEL = reference(version_id=1, max_batch_size=4)
WAIT_S = 30.0


class Wire:
    """A transport whose worker is the test: it sees what is sent, and replies when it likes."""

    reply_to = "reply:test"

    def __init__(self) -> None:
        self.sent: queue.SimpleQueue[BatchMessage] = queue.SimpleQueue()
        self.workers = 1
        self.waiting = 0
        self.pools: list[str] = []
        self.priorities: list[Priority] = []
        self.broken = False
        self.looked = threading.Semaphore(0)

    def start(self, deliver: Callable[[Sequence[BatchReply]], None]) -> None:
        self._deliver = deliver

    def stop(self) -> None:
        self._deliver = lambda _: None

    def send(
        self, message: BatchMessage, *, pool: str, priority: Priority, failed: Callable[[Exception], None]
    ) -> None:
        if self.broken:
            raise ConnectionError("the broker is away")
        self.pools.append(pool)
        self.priorities.append(priority)
        self.sent.put(message)

    def look(self, pools: Sequence[str], learned: Callable[[dict[str, Capacity]], None]) -> None:
        learned({pool: self.capacity(pool) for pool in pools})
        self.looked.release()

    def capacity(self, pool: str) -> Capacity:
        return Capacity(self.workers, self.waiting, 0.0)

    def next(self) -> BatchMessage:
        """The next batch that is sent."""
        return self.sent.get(timeout=WAIT_S)

    def answer(
        self,
        message: BatchMessage,
        *,
        error: str = "",
        results: list[bytes | None] | None = None,
        compute_s: float = 0.0,
    ) -> None:
        """Reply as a worker: the score of an input is its payload."""
        payloads: list[bytes | None] = [item.payload for item in message.items]
        scores = payloads if results is None else results
        reply = BatchReply(message.batch_id, "worker", scores, error, compute_s=compute_s)
        event_loop.call(lambda: self._deliver([reply]))

    def settle_down(self) -> None:
        """Wait until the loop had every chance to do something with what it knows."""
        while self.looked.acquire(blocking=False):
            pass
        for _ in range(3):
            assert self.looked.acquire(timeout=WAIT_S)

    @property
    def idle(self) -> bool:
        self.settle_down()
        return self.sent.empty()


def item(name: str, tenant: int = 1, *, priority: Priority = Priority.INTERACTIVE) -> WorkItem:
    hold = Hold(hold_id=f"hold-{name}", tenant_id=tenant, shard=tenant)
    deadline = clock.monotonic() + WAIT_S
    return WorkItem(payload=name.encode(), cache_key=b"", hold=hold, deadline=deadline, priority=priority)


def payloads(message: BatchMessage) -> list[str]:
    return [sent.payload.decode() for sent in message.items]


def outcome(work: WorkItem) -> bytes | PlatformError | None:
    asked(work.when_done)
    return work.error or work.scores


def fails_as_unavailable(work: WorkItem) -> bool:
    found = outcome(work)
    return isinstance(found, PlatformError) and found.kind is ErrorKind.UNAVAILABLE and found.retry_after_s is not None


def walk(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """The monotonic clock goes on from ``seconds`` later."""
    real = clock.monotonic
    monkeypatch.setattr(clock, "monotonic", lambda: real() + seconds)
