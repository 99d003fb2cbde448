"""Whatever threads, workers and callers do at once: each input is answered or was left, and nothing stays behind."""

import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest

from inference.batching import batcher as batching
from inference.batching import losses
from inference.batching.messages import TOO_LATE, BatchMessage, BatchReply
from inference.batching.work import Hold, WorkItem
from inference.fleet.workers import Capacity
from inference.types import Priority
from mlplatform.lib import clock, event_loop
from mlplatform.lib.errors import ErrorKind, PlatformError
from tests.inference.batching.wire import WAIT_S
from tests.inference.inputs.test_canonical import reference

CALLERS = 4
CALLS = 60
MODELS = [
    reference(version_id=1, max_batch_size=4),
    replace(reference(version_id=2, max_batch_size=8, max_batch_tokens=40), max_queue_delay_s=0.002),
    replace(reference(version_id=3, max_batch_size=3), pool="large"),
]


class Turmoil:
    """A transport that loses, doubles, refuses and delays, and whose pools grow and shrink, until it is told to calm down."""

    reply_to = "reply:test"

    def __init__(self, seed: int) -> None:
        self.calm = False
        self._random = random.Random(seed)
        self._messages: list[BatchMessage] = []

    def start(self, deliver: Callable[[Sequence[BatchReply]], None]) -> None:
        self._deliver = deliver
        self._turn()

    def stop(self) -> None:
        self._deliver = lambda _: None

    def send(
        self, message: BatchMessage, *, pool: str, priority: Priority, failed: Callable[[Exception], None]
    ) -> None:
        fate = 1.0 if self.calm else self._random.random()
        if fate < 0.015:
            raise ConnectionError("the broker is away")
        if fate < 0.03:
            event_loop.tell(failed, ConnectionError("the broker went away"))
            return
        copies = 0 if fate < 0.10 else 2 if fate < 0.15 else 1
        self._messages += [message] * copies

    def _turn(self) -> None:
        count = self._random.randint(0, min(4, len(self._messages)))
        self._deliver(
            [self._reply(self._messages.pop(self._random.randrange(len(self._messages)))) for _ in range(count)]
        )
        event_loop.get().call_later(0.001, self._turn)

    def look(self, pools: Sequence[str], learned: Callable[[dict[str, Capacity]], None]) -> None:
        if not self.calm and self._random.random() < 0.1:
            learned({})
        else:
            learned({name: Capacity(self._random.randint(0, 3), self._random.randint(0, 5), 0.0) for name in pools})

    def _reply(self, message: BatchMessage) -> BatchReply:
        results: list[bytes | None] = [item.payload for item in message.items]
        error = TOO_LATE if message.deadline < clock.now().timestamp() else ""
        if not self.calm and self._random.random() < 0.05:
            error = "it broke"
        elif self._random.random() < 0.05:
            results[0] = None
        return BatchReply(message.batch_id, "worker", results, error, compute_s=0.0001)


class Caller:
    """Submits, and leaves some inputs; what it did not leave must be answered."""

    def __init__(self, number: int, batcher: batching.Batcher) -> None:
        self.accepted: list[WorkItem] = []
        self.refusals: set[ErrorKind] = set()
        self.left: set[WorkItem] = set()
        self.patient: set[WorkItem] = set()
        """Inputs with time enough, which their caller does not leave before they are answered."""
        self.told: Counter[WorkItem] = Counter()
        self._number = number
        self._batcher = batcher
        self._random = random.Random(number)
        self.thread = threading.Thread(target=self._call)

    def _call(self) -> None:
        for number in range(CALLS):
            priority = Priority.BACKGROUND if self._random.random() < 0.2 else Priority.INTERACTIVE
            groups = [
                (ref, self._items(f"{self._number}.{number}.{ref.version_id}", priority))
                for ref in self._random.sample(MODELS, self._random.randint(1, 2))
            ]
            items = [item for _, items in groups for item in items]
            try:
                self._batcher.submit(groups)
            except PlatformError as problem:
                self.refusals.add(problem.kind)
            else:
                self.accepted += items
                if self._random.random() < 0.3:
                    self._leave(items)
                else:
                    self.patient.update(item for item in items if item.deadline > clock.monotonic() + WAIT_S / 2)
            if self._random.random() < 0.3:
                time.sleep(self._random.random() * 0.01)

    def _items(self, name: str, priority: Priority) -> list[WorkItem]:
        return [self._item(f"{name}.{each}", priority) for each in range(self._random.randint(1, 5))]

    def _item(self, name: str, priority: Priority) -> WorkItem:
        short = self._random.random() < 0.1
        item = WorkItem(
            payload=f"{name};".encode() * self._random.randint(1, 3),
            cache_key=b"",
            hold=Hold(f"hold-{name}", self._random.randint(1, 3), 1),
            deadline=clock.monotonic() + (0.01 if short else WAIT_S),
            priority=priority,
            weight=self._random.randint(1, 2),
            size=self._random.choice([1, 2, 30, 200]),
        )
        item.when_done(lambda done: self.told.update([done]))
        return item

    def _leave(self, items: list[WorkItem]) -> None:
        for item in items:
            event_loop.call(item.leave)
            self.left.add(item)

    @property
    def all_told(self) -> bool:
        """Whether everybody heard of the end of his inputs. Inputs end shortly before their callbacks are called."""
        return all(self.told[item] for item in self.accepted if item not in self.left)

    def finish(self) -> None:
        """Wait as calls do: until each deadline."""
        for item in self.accepted:
            while item not in self.left and not item.is_done:
                if clock.monotonic() > item.deadline:
                    self._leave([item])
                time.sleep(0.001)


def assert_nothing_is_left(batcher: batching.Batcher) -> None:
    pools = batcher._pools
    assert (pools.totals.inputs, pools.totals.bytes) == (0, 0)
    assert not pools.in_flight()
    assert not list(pools.queues())


@pytest.fixture
def _hasty(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Batches are lost after milliseconds, and threads take turns far more often than usual."""
    monkeypatch.setattr(losses, "MIN_RESEND_S", 0.02)
    monkeypatch.setattr(losses, "MIN_GIVE_UP_S", 0.05)
    monkeypatch.setattr(batching, "LOOK_S", 0.005)
    monkeypatch.setattr(batching, "LOSSES_S", 0.005)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_hasty")
def test_every_input_is_answered_or_left_and_nothing_stays() -> None:
    transport = Turmoil(seed=1)
    batcher = batching.Batcher(transport, per_worker=2, max_queued=60, max_queued_bytes=800, shared_batch_s=0.01)
    callers = [Caller(number, batcher) for number in range(CALLERS)]
    try:
        for caller in callers:
            caller.thread.start()
        for caller in callers:
            caller.thread.join(WAIT_S)
        transport.calm = True
        for caller in callers:
            caller.finish()
        pools = batcher._pools

        def busy() -> bool:
            return event_loop.call(lambda: bool(pools.totals.inputs or pools.in_flight()))

        until = clock.monotonic() + WAIT_S
        while (busy() or not all(caller.all_told for caller in callers)) and clock.monotonic() < until:
            time.sleep(0.005)
        event_loop.call(lambda: assert_nothing_is_left(batcher))
        for caller in callers:
            assert not caller.thread.is_alive()
            assert caller.accepted
            assert caller.refusals <= {ErrorKind.OVERLOADED}
            for item in caller.accepted:
                assert caller.told[item] <= 1
                assert item.scores in {None, item.payload}
            assert caller.all_told
            assert not caller.patient & caller.left, "an input for which its caller waited was forgotten"
    finally:
        batcher.stop()
