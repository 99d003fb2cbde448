"""The batcher with a transport of the test: what is sent when, what is sent again, and that everybody gets an answer."""

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from inference.batching import batcher as module
from inference.batching.batcher import Batcher
from inference.batching.messages import TOO_LATE, BatchMessage, BatchReply
from inference.batching.work import Hold, WorkItem
from inference.types import Priority
from inference.workers import Capacity
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
        self.waiting = 0
        self.pools: list[str] = []
        self.priorities: list[Priority] = []
        self.broken = False
        self.looked = threading.Semaphore(0)

    def send(self, message: BatchMessage, *, pool: str, priority: Priority) -> None:
        if self.broken:
            raise ConnectionError("the broker is away")
        self.pools.append(pool)
        self.priorities.append(priority)
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
        self.replies.put(BatchReply(message.batch_id, "worker", scores, error, compute_s=compute_s))

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

    def build(*, per_worker: int = 1, max_queued: int = 100, **more: Any) -> Batcher:
        made.append(Batcher(wire, per_worker=per_worker, max_queued=max_queued, **more))
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
    batcher._lane(MODEL)[1].batch_s = 1000.0  # A batch takes so long that waiting for one costs nothing.
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
    wire.workers = 3
    batcher = make()
    batcher.submit([(MODEL, [item("first")])])
    wire.answer(wire.next())
    wire.settle_down()
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
    assert not any(work.abandoned for work in kept)
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
    problem = outcome(bad)
    assert isinstance(problem, PlatformError)
    assert (problem.kind, problem.retry_after_s) == (ErrorKind.UNPROCESSABLE, None)


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
    batcher, slow = make(), replace(MODEL, max_queue_delay_s=1000.0)
    batcher.submit([(slow, [item("a")])])
    batcher.submit([(slow, [item("b")])])
    assert wire.idle
    walk(monkeypatch, 1000.0)
    batcher.submit([(slow, [item("c")])])
    assert payloads(wire.next()) == ["a", "b", "c"]


def test_an_input_that_is_lost_with_every_batch_fails_alone(
    make: Make, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It kills its worker each time. Its neighbours are answered once each is sent by itself."""
    batcher = make()
    works = {name: item(name) for name in "abcd"}
    batcher.submit([(MODEL, [item("first")])])
    first = wire.next()
    batcher.submit([(MODEL, list(works.values()))])
    wire.answer(first)
    assert payloads(wire.next()) == ["a", "b", "c", "d"]
    past = 0.0

    def later(seconds: float) -> None:
        nonlocal past
        past += seconds
        walk(monkeypatch, seconds)

    later(module._MIN_RESEND_S)
    assert payloads(wire.next()) == ["a", "b", "c", "d"], "once more as it was: the worker may just have been restarted"
    later(module._MIN_GIVE_UP_S)
    alone = sorted((wire.next() for _ in range(4)), key=payloads)
    assert [payloads(each) for each in alone] == [["a"], ["b"], ["c"], ["d"]]
    for message in alone[1:]:
        wire.answer(message)
    assert [outcome(works[name]) for name in "bcd"] == [b"b", b"c", b"d"]
    wire.settle_down()
    later(module._MIN_GIVE_UP_S)
    assert fails_as_unavailable(works["a"])
    assert wire.idle


def test_a_full_queue_makes_room_for_a_tenant_that_has_less(make: Make, wire: Wire) -> None:
    batcher = make(max_queued=4)
    batcher.submit([(MODEL, [item("x")])])
    first = wire.next()
    noisy = [item(f"n{number}", tenant=1) for number in range(4)]
    for work in noisy:
        batcher.submit([(MODEL, [work])])
    with pytest.raises(PlatformError):
        batcher.submit([(MODEL, [item("n4", tenant=1)])])
    quiet = item("q", tenant=2)
    batcher.submit([(MODEL, [quiet])])
    dropped = outcome(noisy[3])
    assert isinstance(dropped, PlatformError)
    assert dropped.kind is ErrorKind.OVERLOADED, "the newest of whoever has most"
    wire.answer(first)
    assert payloads(wire.next()) == ["n0", "q", "n1", "n2"]


def test_the_queue_is_bounded_in_bytes_too(make: Make, wire: Wire) -> None:
    batcher = make(max_queued_bytes=100)
    batcher.submit([(MODEL, [item("x")])])
    wire.next()
    batcher.submit([(MODEL, [item("y" * 60)])])
    with pytest.raises(PlatformError) as caught:
        batcher.submit([(MODEL, [item("z" * 60)])])
    assert caught.value.kind is ErrorKind.OVERLOADED


def test_what_nobody_waits_for_makes_room_first(make: Make, wire: Wire) -> None:
    batcher = make(max_queued=2)
    batcher.submit([(MODEL, [item("x")])])
    first = wire.next()
    gone, kept = item("gone"), item("kept")
    batcher.submit([(MODEL, [gone, kept])])
    gone.leave()
    batcher.submit([(MODEL, [item("new")])])
    wire.answer(first)
    assert payloads(wire.next()) == ["kept", "new"]


def test_background_work_goes_when_nobody_waits_who_is_waited_for(make: Make, wire: Wire) -> None:
    batcher = make()
    batcher.submit([(MODEL, [item("x")])])
    first = wire.next()
    shadow = item("shadow")
    shadow.priority = Priority.BACKGROUND
    batcher.submit([(MODEL, [shadow])])
    for number in range(5):
        batcher.submit([(MODEL, [item(f"i{number}")])])
    wire.answer(first)
    second, third = wire.next(), None
    assert payloads(second) == ["i0", "i1", "i2", "i3"]
    wire.answer(second)
    third = wire.next()
    assert payloads(third) == ["i4"]
    wire.answer(third)
    assert payloads(wire.next()) == ["shadow"]
    assert wire.priorities == [Priority.INTERACTIVE] * 3 + [Priority.BACKGROUND]


def test_each_version_goes_to_the_pool_of_its_model(make: Make, wire: Wire) -> None:
    batcher = make()
    other = replace(reference(version_id=2, digest="cd" * 32), pool="large")
    batcher.submit([(MODEL, [item("a")]), (other, [item("b")])])
    assert {
        (pool, *payloads(message)) for pool, message in zip(wire.pools, (wire.next(), wire.next()), strict=True)
    } == {
        ("gpu", "a"),
        ("large", "b"),
    }


def test_while_tenants_compete_batches_stay_short(make: Make, wire: Wire) -> None:
    batcher = make(shared_batch_s=0.05)
    batcher.submit([(MODEL, [item("x")])])
    wire.answer(wire.next(), compute_s=0.02)
    wire.settle_down()
    batcher.submit([(MODEL, [item("y", tenant=1)])])
    held = wire.next()
    batcher.submit([(MODEL, [item(f"n{number}", tenant=1) for number in range(4)] + [item("q", tenant=2)])])
    wire.answer(held, compute_s=0.02)
    assert payloads(wire.next()) == ["n0", "q"], "two of 20 ms each fit in 50 ms"


def test_the_expected_wait_follows_what_workers_said(make: Make, wire: Wire) -> None:
    batcher = make()
    wanted = [(MODEL, 1)]
    assert batcher.expected_wait_s(wanted, tenant_id=1, weight=1) == 0, "nobody knows yet"
    batcher.submit([(MODEL, [item("x")])])
    wire.answer(wire.next(), compute_s=0.5)
    wire.settle_down()
    assert batcher.expected_wait_s(wanted, tenant_id=1, weight=1) == 0, "with nothing under way it is measured anew"
    batcher.submit([(MODEL, [item("y")])])
    batcher.submit([(MODEL, [item(f"n{number}") for number in range(6)])])
    assert batcher.expected_wait_s(wanted, tenant_id=1, weight=1) == pytest.approx(0.5 * (1 + 6 + 1))
    assert batcher.expected_wait_s(wanted, tenant_id=2, weight=1) == pytest.approx(0.5 * (1 + 1 + 1)), "one turn each"
    wire.workers = 0
    walked = clock.monotonic() + WAIT_S
    while batcher.expected_wait_s(wanted, tenant_id=1, weight=1) and clock.monotonic() < walked:
        wire.settle_down()
    assert batcher.expected_wait_s(wanted, tenant_id=1, weight=1) == 0, "without a worker nobody can tell"


def test_whoever_asked_to_be_told_is_told_once(make: Make, wire: Wire) -> None:
    work = item("a")
    told: list[WorkItem] = []

    def fail(_: WorkItem) -> None:
        raise ValueError("a callback's own mistake")

    work.when_done(told.append)
    work.when_done(fail)
    make().submit([(MODEL, [work])])
    wire.answer(wire.next())
    assert outcome(work) == b"a"
    work.when_done(told.append)
    assert told == [work, work]


def test_background_work_gives_way_first_and_drives_nobody_out(make: Make, wire: Wire) -> None:
    batcher = make(max_queued=2)
    batcher.submit([(MODEL, [item("x")])])
    wire.next()

    def shadow(name: str, tenant: int) -> WorkItem:
        work = item(name, tenant)
        work.priority = Priority.BACKGROUND
        return work

    first, second = shadow("s1", 1), shadow("s2", 2)
    batcher.submit([(MODEL, [first, second])])
    with pytest.raises(PlatformError):
        batcher.submit([(MODEL, [shadow("s3", 3)])])
    batcher.submit([(MODEL, [item("a", 1)])])
    batcher.submit([(MODEL, [item("b", 1)])])
    assert [isinstance(outcome(work), PlatformError) for work in (first, second)] == [True, True]
    with pytest.raises(PlatformError):
        batcher.submit([(MODEL, [shadow("s4", 2)])])


def test_who_cannot_get_room_drives_nobody_out(make: Make, wire: Wire) -> None:
    """A tenant whose images fill the bytes is refused, and not at the cost of another's many small inputs."""
    batcher = make(max_queued_bytes=100)
    batcher.submit([(MODEL, [item("x")])])
    wire.next()
    small = [item(f"s{number}", tenant=2) for number in range(5)]
    batcher.submit([(MODEL, small)])
    batcher.submit([(MODEL, [item("y" * 80, tenant=1)])])
    with pytest.raises(PlatformError):
        batcher.submit([(MODEL, [item("z" * 80, tenant=1)])])
    with pytest.raises(PlatformError):
        batcher.submit([(MODEL, [item("z" * 200, tenant=3)])])
    assert not any(work.abandoned for work in small)
    large = item("w" * 50, tenant=3)
    batcher.submit([(MODEL, [large])])
    assert not any(work.abandoned for work in [*small, large]), "whoever has most bytes made room"


def test_a_large_call_takes_no_more_than_it_leaves(make: Make, wire: Wire) -> None:
    batcher = make(max_queued=10)
    batcher.submit([(MODEL, [item("x")])])
    wire.next()
    waiting = [item(f"n{number}", tenant=1) for number in range(10)]
    batcher.submit([(MODEL, waiting)])
    with pytest.raises(PlatformError):
        batcher.submit([(MODEL, [item(f"m{number}", tenant=2) for number in range(9)])])
    assert not any(work.abandoned for work in waiting)
    batcher.submit([(MODEL, [item(f"m{number}", tenant=2) for number in range(5)])])
    assert sum(work.abandoned for work in waiting) == 5


def test_a_late_reply_to_a_batch_that_was_split_answers_everybody(
    make: Make, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker was slow and not dead: it has settled the holds, so its answer must be given."""
    batcher = make()
    works = [item(name) for name in "ab"]
    batcher.submit([(MODEL, works)])
    whole = wire.next()
    walk(monkeypatch, module._MIN_RESEND_S)
    wire.next()
    walk(monkeypatch, module._MIN_GIVE_UP_S)
    alone = [wire.next(), wire.next()]
    assert len({whole.batch_id, *(each.batch_id for each in alone)}) == 3
    wire.answer(whole)
    assert [outcome(work) for work in works] == [b"a", b"b"]
    wire.settle_down()
    assert not batcher._pools["gpu"].flights, "nobody waits for them any more"
    assert not batcher._given_up


def test_what_waits_in_the_broker_is_late_and_not_lost(make: Make, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    batcher = make()
    monkeypatch.setattr(wire, "capacity", lambda _: Capacity(1, 20, 1.0))
    batcher.submit([(MODEL, [item("a")])])
    wire.next()
    wire.settle_down()
    batcher._look_at_workers()
    walk(monkeypatch, 2 * module._MIN_RESEND_S)
    assert wire.idle
    walk(monkeypatch, 20.0)
    assert payloads(wire.next()) == ["a"]


def test_background_work_that_may_not_go_keeps_no_thread_busy(make: Make, wire: Wire) -> None:
    batcher = make(per_worker=2)
    works = [item(name) for name in "ab"]
    for work in works:
        work.priority = Priority.BACKGROUND
        batcher.submit([(MODEL, [work])])
    wire.next()
    assert wire.idle, "one for each worker"
    with batcher._changed:
        assert batcher._until_next_s() is None


def test_a_broker_that_is_away_fails_a_long_queue_on_the_timer_thread(make: Make, wire: Wire) -> None:
    """And not by one call within another, nor on the thread of whoever came last."""
    batcher = make(max_queued=3000)
    single = reference(version_id=3, digest="12" * 32, max_batch_size=1)
    batcher.submit([(single, [item("x")])])
    first = wire.next()
    works = [item(f"w{number}") for number in range(1500)]
    batcher.submit([(single, works)])
    wire.broken = True
    wire.answer(first)
    assert all(fails_as_unavailable(work) for work in works)
    wire.broken = False
    again = item("again")
    batcher.submit([(single, [again])])
    wire.answer(wire.next())
    assert outcome(again) == b"again"


def test_a_batch_past_its_deadline_ends_though_nobody_says_that_he_left(
    make: Make, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shadow has no caller; workers skip it without a reply."""
    batcher = make()
    shadow = item("shadow")
    shadow.priority = Priority.BACKGROUND
    batcher.submit([(MODEL, [shadow])])
    wire.next()
    walk(monkeypatch, WAIT_S + module._MIN_RESEND_S)
    assert fails_as_unavailable(shadow)
    assert wire.idle, "nor is it sent once more"


def test_a_batch_that_came_too_late_frees_its_place_at_once(make: Make, wire: Wire) -> None:
    batcher = make()
    late, next_one = item("late"), item("next")
    batcher.submit([(MODEL, [late])])
    message = wire.next()
    batcher.submit([(MODEL, [next_one])])
    wire.answer(message, error=TOO_LATE, results=[None])
    assert fails_as_unavailable(late)
    wire.answer(wire.next())
    assert outcome(next_one) == b"next"


def test_one_copy_that_came_too_late_leaves_the_other_its_answer(
    make: Make, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    batcher = make()
    work = item("a")
    batcher.submit([(MODEL, [work])])
    message = wire.next()
    walk(monkeypatch, module._MIN_RESEND_S)
    wire.next()
    wire.answer(message, error=TOO_LATE, results=[None])
    wire.settle_down()
    assert not work.abandoned
    wire.answer(message)
    assert outcome(work) == b"a"
