"""The batcher with a transport of the test: what is sent when, what is sent again, and that everybody gets an answer."""

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from inference.batching import batcher as module
from inference.batching.batcher import Batcher
from inference.batching.messages import BatchMessage, BatchReply
from inference.batching.work import Hold, WorkItem
from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind, PlatformError
from tests.inference.test_canonical import reference

MODEL = reference(version_id=1, max_batch_size=4)
WAIT_S = 30.0


class Wire:
    """A transport whose worker is the test: it sees what is sent, and replies when it likes."""

    reply_to = "reply:test"

    def __init__(self) -> None:
        self.sent: queue.SimpleQueue[BatchMessage] = queue.SimpleQueue()
        self.replies: queue.SimpleQueue[BatchReply | Exception] = queue.SimpleQueue()
        self.workers = 1
        self.broken = False
        self.looked = threading.Semaphore(0)

    def send(self, message: BatchMessage) -> None:
        if self.broken:
            raise ConnectionError("the broker is away")
        self.sent.put(message)

    def receive(self) -> list[BatchReply]:
        self.looked.release()
        try:
            reply = self.replies.get(timeout=0.005)
        except queue.Empty:
            return []
        if isinstance(reply, Exception):
            raise reply
        return [reply]

    def worker_count(self) -> int:
        return self.workers

    def next(self) -> BatchMessage:
        """The next batch that is sent."""
        return self.sent.get(timeout=WAIT_S)

    def answer(self, message: BatchMessage, *, error: str = "", results: list[bytes | None] | None = None) -> None:
        """Reply as a worker: the score of an input is its payload."""
        payloads: list[bytes | None] = [item.payload for item in message.items]
        self.replies.put(BatchReply(message.batch_id, "worker", payloads if results is None else results, error))

    def settle_down(self) -> None:
        """Wait until both threads had every chance to do something with what they know."""
        while self.looked.acquire(blocking=False):
            pass
        for _ in range(3):
            assert self.looked.acquire(timeout=WAIT_S)

    @property
    def idle(self) -> bool:
        self.settle_down()
        return self.sent.empty()


Make = Callable[..., Batcher]


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def make(wire: Wire) -> Iterator[Make]:
    made: list[Batcher] = []

    def build(*, per_worker: int = 1, max_queued: int = 100, max_delay_s: float = 0.0) -> Batcher:
        made.append(Batcher(wire, per_worker=per_worker, max_queued=max_queued, max_delay_s=max_delay_s))
        return made[-1]

    yield build
    for batcher in made:
        batcher.stop()


def item(name: str, tenant: int = 1) -> WorkItem:
    hold = Hold(hold_id=f"hold-{name}", tenant_id=tenant, shard=tenant)
    return WorkItem(payload=name.encode(), cache_key=b"", hold=hold, deadline=clock.monotonic() + WAIT_S)


def payloads(message: BatchMessage) -> list[str]:
    return [sent.payload.decode() for sent in message.items]


def outcome(work: WorkItem) -> bytes | PlatformError | None:
    assert work.wait(clock.monotonic() + WAIT_S)
    return work.error or work.scores


def fails_as_unavailable(work: WorkItem) -> bool:
    found = outcome(work)
    return isinstance(found, PlatformError) and found.kind is ErrorKind.UNAVAILABLE and found.retry_after_s is not None


def walk(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """The monotonic clock goes on from ``seconds`` later."""
    real = clock.monotonic
    monkeypatch.setattr(clock, "monotonic", lambda: real() + seconds)


def test_a_single_input_goes_at_once_and_says_what_a_worker_needs(make: Make, wire: Wire) -> None:
    work = item("a")
    make().submit([(MODEL, [work])])
    message = wire.next()
    assert payloads(message) == ["a"]
    assert (message.version_id, message.digest, message.reply_to) == (1, MODEL.digest, "reply:test")
    assert message.cache_ttl_s == MODEL.cache_ttl_s
    assert 0 < message.deadline - clock.now().timestamp() <= WAIT_S
    sent = message.items[0]
    assert (sent.hold_id, sent.tenant_id, sent.shard) == ("hold-a", 1, 1)
    wire.answer(message)
    assert outcome(work) == b"a"


def test_it_gathers_while_the_worker_is_busy_and_sends_full_batches(make: Make, wire: Wire) -> None:
    batcher = make()
    works = [item(name) for name in "abcdef"]
    batcher.submit([(MODEL, works[:1])])
    first = wire.next()
    for work in works[1:]:
        batcher.submit([(MODEL, [work])])
    assert wire.idle
    wire.answer(first)
    second = wire.next()
    assert payloads(second) == ["b", "c", "d", "e"], "as many as the model takes, in order"
    wire.answer(second)
    third = wire.next()
    assert payloads(third) == ["f"]
    wire.answer(third)
    assert [outcome(work) for work in works] == [b"a", b"b", b"c", b"d", b"e", b"f"]


def test_a_second_batch_is_sent_ahead_only_when_it_is_full(make: Make, wire: Wire) -> None:
    batcher = make(per_worker=2)
    batcher.submit([(MODEL, [item("slow")])])
    wire.answer(wire.next())
    walked = item("a")
    batcher.submit([(MODEL, [walked])])
    first = wire.next()
    batcher._lanes[1, MODEL.digest].batch_s = 1000.0  # A batch takes so long that waiting for one costs nothing.
    batcher.submit([(MODEL, [item("b"), item("c"), item("d")])])
    assert wire.idle
    batcher.submit([(MODEL, [item("e")])])
    assert payloads(wire.next()) == ["b", "c", "d", "e"]
    batcher.submit([(MODEL, [item("f"), item("g"), item("h"), item("i")])])
    assert wire.idle, "two are on their way, and that is enough"
    wire.answer(first)
    assert payloads(wire.next()) == ["f", "g", "h", "i"]


def test_two_workers_get_a_batch_each(make: Make, wire: Wire) -> None:
    wire.workers = 2
    batcher = make()
    batcher.submit([(MODEL, [item("a")])])
    wire.answer(wire.next())
    wire.settle_down()
    for name in "bc":
        batcher.submit([(MODEL, [item(name)])])
        assert payloads(wire.next()) == [name]
    batcher.submit([(MODEL, [item("d")])])
    assert wire.idle


def test_versions_never_meet_in_a_batch_and_tenants_take_turns(make: Make, wire: Wire) -> None:
    batcher = make()
    other = reference(version_id=2, digest="cd" * 32, max_batch_size=4)
    replaced = replace(MODEL, digest="ef" * 32)
    blockers = [item("x"), item("y"), item("z")]
    batcher.submit([(ref, [blocker]) for ref, blocker in zip((MODEL, other, replaced), blockers, strict=True)])
    held = {message.digest: message for message in (wire.next() for _ in range(3))}
    greedy = [item(f"greedy{number}", tenant=1) for number in range(6)]
    modest = item("modest", tenant=2)
    strangers = [item("stranger", tenant=3), item("replaced", tenant=3)]
    batcher.submit([(MODEL, greedy), (other, strangers[:1])])
    batcher.submit([(replaced, strangers[1:]), (MODEL, [modest])])
    for message in held.values():
        wire.answer(message)
    sent = {message.digest: message for message in (wire.next() for _ in range(3))}
    assert payloads(sent[MODEL.digest]) == ["greedy0", "modest", "greedy1", "greedy2"]
    assert payloads(sent[other.digest]) == ["stranger"]
    assert payloads(sent[replaced.digest]) == ["replaced"], "the same version with another artefact is another queue"


def test_what_nobody_waits_for_is_dropped_before_batching(make: Make, wire: Wire) -> None:
    batcher = make()
    batcher.submit([(MODEL, [item("a")])])
    first = wire.next()
    works = [item("b"), item("c")]
    batcher.submit([(MODEL, works)])
    works[0].leave()
    wire.answer(first)
    assert payloads(wire.next()) == ["c"]


def test_a_full_queue_refuses_the_whole_call_and_takes_nothing_of_it(make: Make, wire: Wire) -> None:
    batcher = make(max_queued=5)
    batcher.submit([(MODEL, [item("a")])])
    first = wire.next()
    kept = [item(name) for name in "bc"]
    batcher.submit([(MODEL, kept)])
    other = reference(version_id=2, digest="cd" * 32)
    with pytest.raises(PlatformError) as caught:
        batcher.submit([(other, [item("x"), item("y")]), (MODEL, [item("z"), item("w")])])
    assert (caught.value.kind, caught.value.retry_after_s) == (ErrorKind.OVERLOADED, 1.0)
    assert wire.idle, "not even the first version's inputs were queued"
    batcher.submit([(MODEL, [item("d"), item("e"), item("f")])])
    wire.answer(first)
    assert payloads(wire.next()) == ["b", "c", "d", "e"]


def test_one_failed_input_fails_alone(make: Make, wire: Wire) -> None:
    batcher = make()
    good, bad = item("good"), item("bad")
    batcher.submit([(MODEL, [good, bad])])
    wire.answer(wire.next(), results=[b"scores", None])
    assert outcome(good) == b"scores"
    assert fails_as_unavailable(bad)


@pytest.mark.parametrize(("error", "results"), [("it broke", [None, None]), ("", [b"only one"]), ("", [])])
def test_a_reply_that_is_no_answer_fails_the_batch(
    make: Make, wire: Wire, error: str, results: list[bytes | None]
) -> None:
    batcher = make()
    works = [item("a"), item("b")]
    batcher.submit([(MODEL, works)])
    wire.answer(wire.next(), error=error, results=results)
    assert all(fails_as_unavailable(work) for work in works)
    batcher.submit([(MODEL, [item("c")])])
    assert payloads(wire.next()) == ["c"], "the worker is free again"


def test_a_batch_that_cannot_be_sent_fails_at_once_and_the_next_one_goes(make: Make, wire: Wire) -> None:
    batcher = make()
    wire.broken = True
    lost = item("lost")
    batcher.submit([(MODEL, [lost])])
    assert fails_as_unavailable(lost)
    wire.broken = False
    batcher.submit([(MODEL, [item("next")])])
    assert payloads(wire.next()) == ["next"]


def test_a_lost_batch_is_sent_once_more_and_its_second_answer_is_ignored(
    make: Make, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    batcher = make()
    work = item("a")
    batcher.submit([(MODEL, [work])])
    first = wire.next()
    wire.settle_down()
    assert wire.sent.empty()
    walk(monkeypatch, module._MIN_RESEND_S)
    again = wire.next()
    assert again == first, "the same holds, so that it is charged once"
    wire.answer(again)
    assert outcome(work) == b"a"
    wire.answer(first, results=[b"another"])
    wire.settle_down()
    assert outcome(work) == b"a"
    batcher.submit([(MODEL, [item("b")])])
    assert payloads(wire.next()) == ["b"]


def test_a_batch_that_is_lost_twice_is_given_up(make: Make, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    batcher = make()
    work = item("a")
    batcher.submit([(MODEL, [work])])
    wire.next()
    walk(monkeypatch, module._MIN_RESEND_S)
    wire.next()
    assert wire.idle
    walk(monkeypatch, module._MIN_GIVE_UP_S)
    assert fails_as_unavailable(work)
    assert wire.idle, "it is sent twice, not thrice"
    batcher.submit([(MODEL, [item("b")])])
    assert payloads(wire.next()) == ["b"], "what was given up occupies no worker"


def test_a_second_sending_that_fails_leaves_the_first_its_chance(
    make: Make, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = item("a")
    make().submit([(MODEL, [work])])
    first = wire.next()
    wire.broken = True
    walk(monkeypatch, module._MIN_RESEND_S)
    wire.settle_down()
    assert work.error is None
    wire.answer(first)
    assert outcome(work) == b"a"


def test_a_batch_that_everybody_left_frees_its_worker(make: Make, wire: Wire) -> None:
    batcher = make()
    work = item("a")
    batcher.submit([(MODEL, [work])])
    wire.next()
    work.leave()
    batcher.submit([(MODEL, [item("b")])])
    assert payloads(wire.next()) == ["b"]


def test_unreadable_replies_do_not_end_the_reader(make: Make, wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    work = item("a")
    make().submit([(MODEL, [work])])
    message = wire.next()
    wire.replies.put(ConnectionError("Redis is away"))
    wire.answer(message)
    assert outcome(work) == b"a"
    assert "replies cannot be read" in caplog.text


def test_stopping_answers_everybody_and_takes_nothing_more(make: Make, wire: Wire) -> None:
    batcher = make()
    flying, waiting = item("flying"), item("waiting")
    batcher.submit([(MODEL, [flying])])
    wire.next()
    batcher.submit([(MODEL, [waiting])])
    batcher.stop()
    assert fails_as_unavailable(flying)
    assert fails_as_unavailable(waiting)
    with pytest.raises(PlatformError) as caught:
        batcher.submit([(MODEL, [item("late")])])
    assert caught.value.kind is ErrorKind.UNAVAILABLE


def test_a_delay_gathers_even_for_a_free_worker(make: Make, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    batcher = make(max_delay_s=1000.0)
    batcher.submit([(MODEL, [item("a")])])
    batcher.submit([(MODEL, [item("b")])])
    assert wire.idle
    walk(monkeypatch, 1000.0)
    batcher.submit([(MODEL, [item("c")])])
    assert payloads(wire.next()) == ["a", "b", "c"]
