"""The batcher with a transport of the test: what it sends, what it answers, and what it survives."""

import pytest

from inference.batching import batcher as batcher_module
from inference.batching.dispatcher import Dispatcher
from inference.batching.pools import PoolState
from inference.batching.work import WorkItem
from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind, PlatformError
from tests.inference.batching.conftest import Make
from tests.inference.batching.wire import MODEL, WAIT_S, Wire, fails_as_unavailable, item, outcome, payloads
from tests.inference.inputs.test_canonical import reference


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
    doubted = batcher.expected_wait_s(wanted, tenant_id=1, weight=1, doubt=1.6)
    assert doubted == pytest.approx(0.5 * (1 + 1.6 * (6 + 1))), (
        "what comes first may take longer, its own computing does not"
    )
    wire.workers = 0
    walked = clock.monotonic() + WAIT_S
    while batcher.expected_wait_s(wanted, tenant_id=1, weight=1) and clock.monotonic() < walked:
        wire.settle_down()
    assert batcher.expected_wait_s(wanted, tenant_id=1, weight=1) == 0, "without a worker nobody can tell"


def test_the_expected_wait_of_a_backlog_follows_what_others_got_lately(make: Make, wire: Wire) -> None:
    batcher = make()
    for number in range(40):
        batcher.submit([(MODEL, [item(f"other{number}", tenant=2)])])
        wire.answer(wire.next(), compute_s=0.04)
    batcher.submit([(MODEL, [item("x", tenant=2)])])
    batcher.submit([(MODEL, [item("y", tenant=2)] + [item(f"n{number}") for number in range(6)])])
    wanted = [(MODEL, 1)]
    wait = batcher.expected_wait_s(wanted, tenant_id=1, weight=1)
    assert wait == pytest.approx(0.04 * (1 + 7 / 0.5)), "tenant 2 keeps the worker busy, and half of it is tenant 1's"
    assert batcher.expected_wait_s(wanted, tenant_id=2, weight=1) == pytest.approx(0.04 * (1 + 2 + 2))


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


def test_a_broker_that_is_away_fails_a_long_queue_batch_by_batch(make: Make, wire: Wire) -> None:
    """And not by one call within another, which a thousand batches would make too deep."""
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


def test_a_mistake_of_the_timer_does_not_end_it(
    make: Make, wire: Wire, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    patient = reference(version_id=1, max_batch_size=4, max_queue_delay_s=0.5)
    failures = [RuntimeError("a mistake")]
    monkeypatch.setattr(batcher_module, "LOOK_S", 0.01)
    real = Dispatcher.until_next_s

    def once_mistaken(self: Dispatcher, pool: PoolState, now: float) -> float | None:
        if failures:
            raise failures.pop()
        return real(self, pool, now)

    monkeypatch.setattr(Dispatcher, "until_next_s", once_mistaken)
    make().submit([(patient, [item("gathers")])])
    assert payloads(wire.next()) == ["gathers"]
    assert "batches that gather could not be looked after" in caplog.text
