"""A batch is one message in the broker; replies come by a list that only this process reads."""

import json
import queue
from collections.abc import Callable, Iterator, Sequence

import pytest

from inference.batching.messages import BatchMessage, BatchReply, decode_batch, encode_reply
from inference.batching.transport import TASK, CeleryTransport
from inference.fleet.workers import Capacity, Heartbeat
from inference.types import DEFAULT_POOL, Priority
from mlplatform.lib import event_loop, redis
from tests.support.redis_server import RedisServer
from tests.support.waiting import until

WAIT_S = 30.0
Make = Callable[[], "Ends"]


class Ends:
    """A transport, and what came out of it."""

    def __init__(self) -> None:
        self.transport = CeleryTransport()
        self.replies: queue.SimpleQueue[BatchReply] = queue.SimpleQueue()
        self.failures: queue.SimpleQueue[Exception] = queue.SimpleQueue()
        event_loop.call(lambda: self.transport.start(self._keep))

    def _keep(self, replies: Sequence[BatchReply]) -> None:
        for reply in replies:
            self.replies.put(reply)

    def stop(self) -> None:
        event_loop.call(self.transport.stop)

    def message(self, batch_id: str = "batch-1") -> BatchMessage:
        return BatchMessage(batch_id, 1, "ab", self.transport.reply_to, 1.5, 60, [])

    def send(self, batch_id: str = "batch-1") -> None:
        message = self.message(batch_id)
        event_loop.call(
            lambda: self.transport.send(
                message, pool=DEFAULT_POOL, priority=Priority.INTERACTIVE, failed=self.failures.put
            )
        )

    def reply(self, *batch_ids: str) -> None:
        redis.state().rpush(self.transport.reply_to, *(encode_reply(BatchReply(each, "w", [])) for each in batch_ids))

    def came(self) -> str:
        return self.replies.get(timeout=WAIT_S).batch_id

    def capacity(self) -> Capacity:
        found: queue.SimpleQueue[dict[str, Capacity]] = queue.SimpleQueue()
        event_loop.call(lambda: self.transport.look(["gpu"], found.put))
        return found.get(timeout=WAIT_S)["gpu"]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Ends] = []

    def build() -> Ends:
        made.append(Ends())
        return made[-1]

    yield build
    for each in made:
        each.stop()


def queued() -> list[bytes]:
    return redis.state().lrange(f"celery:{DEFAULT_POOL}", 0, -1)  # type: ignore[return-value]


def test_a_batch_is_one_message_without_a_result(make: Make) -> None:
    ends = make()
    ends.send()
    until(queued, bool)
    (body,) = queued()
    envelope = json.loads(body)
    assert (envelope["headers"]["task"], envelope["headers"]["id"]) == (TASK, "batch-1")
    assert envelope["headers"]["ignore_result"] is True
    ((text,), _, _) = json.loads(envelope["body"])
    assert decode_batch(text) == ends.message()
    assert ends.failures.empty()


def test_replies_come_in_order_and_to_their_own_process(make: Make) -> None:
    ends, stranger = make(), make()
    assert ends.transport.reply_to != stranger.transport.reply_to
    ends.reply("one", "two", "three")
    stranger.reply("other")
    assert [ends.came() for _ in range(3)] == ["one", "two", "three"]
    assert stranger.came() == "other"


def test_workers_are_counted_by_their_heartbeats(make: Make) -> None:
    ends = make()
    assert ends.capacity().workers == 0
    Heartbeat(queue="gpu", device="cpu").beat()
    Heartbeat(queue="jobs", device="cpu").beat()
    redis.state().lpush("celery:gpu", "one", "two")
    assert (ends.capacity().workers, ends.capacity().waiting_batches) == (1, 2)


def test_while_redis_is_away_both_ways_fail_and_come_back(
    make: Make, state_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    ends = make()
    ends.reply("batch-1")
    assert ends.came() == "batch-1"
    state_redis.stop()
    ends.send()
    assert isinstance(ends.failures.get(timeout=WAIT_S), redis.FAILURES)
    until(lambda: "replies cannot be read" in caplog.text, bool)
    state_redis.start()
    ends.send("batch-2")
    until(queued, bool)
    assert len(queued()) == 1
    ends.reply("batch-2")
    assert ends.came() == "batch-2"


def test_a_reply_that_cannot_be_read_costs_the_others_nothing(make: Make) -> None:
    ends = make()
    good = encode_reply(BatchReply("batch-1", "worker", [b"s"]))
    redis.state().rpush(ends.transport.reply_to, b"another release's", good)
    assert ends.came() == "batch-1"
