"""Which batch goes when, and who goes first."""

from dataclasses import replace

import pytest

from inference.batching.dispatcher import Dispatcher
from inference.batching.lanes import InFlightBatch, dispatch
from inference.batching.pools import Pools
from inference.types import Priority
from mlplatform.lib import clock
from tests.inference.batching.conftest import Make
from tests.inference.batching.wire import MODEL, Wire, item, outcome, payloads, walk
from tests.inference.inputs.test_canonical import reference


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
    batcher._pools.open(MODEL)[1].batch_s = 1000.0  # A batch takes so long that waiting for one costs nothing.
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


def test_a_delay_gathers_even_for_a_free_worker(make: Make, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    batcher, slow = make(), replace(MODEL, max_queue_delay_s=1000.0)
    batcher.submit([(slow, [item("a")])])
    batcher.submit([(slow, [item("b")])])
    assert wire.idle
    walk(monkeypatch, 1000.0)
    batcher.submit([(slow, [item("c")])])
    assert payloads(wire.next()) == ["a", "b", "c"]


def test_background_work_goes_when_nobody_waits_who_is_waited_for(make: Make, wire: Wire) -> None:
    batcher = make()
    batcher.submit([(MODEL, [item("x")])])
    first = wire.next()
    shadow = item("shadow", priority=Priority.BACKGROUND)
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


def test_while_tenants_compete_batches_of_a_model_that_takes_long_for_one_input_have_several() -> None:
    pools, dispatcher = Pools(), Dispatcher(per_worker=2, shared_batch_s=0.05)
    pool, lane = pools.open(reference(version_id=1, max_batch_size=64))
    for inputs in (1, 2, 4, 3):
        lane.learn(took_s=0.1, compute_s=0.06 + 0.01 * inputs, sizes=[1] * inputs)
    now = clock.monotonic() + 1
    for number in range(20):
        for tenant in (1, 2):
            pool.push(lane, item(f"{number}", tenant=tenant), now)
    batch = dispatcher.next_batch(pool, now)
    assert batch is not None
    assert len(batch.items) == pytest.approx((3 * 0.07 - 0.06) / 0.01, abs=1), "one alone takes 70 ms, and each more 10"


def test_while_tenants_compete_the_next_batch_goes_when_the_worker_is_nearly_free() -> None:
    """Each batch is counted from when the worker took it up: from when it was sent, each would go earlier than the one before."""
    pools, dispatcher = Pools(), Dispatcher(per_worker=2, shared_batch_s=0.05)
    pool, lane = pools.open(MODEL)
    lane.speed.token_s = lane.batch_s = 0.05

    def waits(at: float) -> None:
        for tenant in (1, 2):
            work = item(f"{tenant}", tenant=tenant)
            work.queued_at = at - 1.0
            pool.push(lane, work, at)

    def goes(at: float) -> InFlightBatch:
        batch = dispatcher.next_batch(pool, at)
        assert batch is not None
        sent = dispatch(lane, batch.items, batch.priority, reply_to="reply")
        sent.sent_at = at
        pools.add(sent)
        return sent

    waits(100.0)
    computed = goes(100.0)
    for round_ in range(5):
        taken_up = 100.0 + round_ * 0.05
        waits(taken_up)
        assert dispatcher.next_batch(pool, taken_up + 0.03) is None
        assert dispatcher.until_next_s(pool, taken_up + 0.03) == pytest.approx(0.01)
        following = goes(taken_up + 0.041)
        begun = [sent.begun_at for sent in pool.in_flight.values()]
        assert begun == [pytest.approx(taken_up), None], "one is computed first"
        pools.complete(computed, taken_up + 0.05)
        assert [sent.begun_at for sent in pool.in_flight.values()] == [taken_up + 0.05]
        computed = following


def test_one_background_batch_goes_for_each_worker(make: Make, wire: Wire) -> None:
    batcher = make(per_worker=2)
    for name in "ab":
        batcher.submit([(MODEL, [item(name, priority=Priority.BACKGROUND)])])
    wire.next()
    assert wire.idle


def test_idle_lanes_are_not_looked_at() -> None:
    """A process has served hundreds of versions; a call for one of them costs the same."""
    pools, dispatcher = Pools(), Dispatcher(per_worker=2, shared_batch_s=0.0)
    for number in range(2, 20):
        _, idle = pools.open(reference(version_id=number))
        idle.queues = {}  # To look into it is a KeyError.
    pool, lane = pools.open(MODEL)
    work = item("a")
    pool.push(lane, work, work.queued_at)
    batch = dispatcher.next_batch(pool, work.queued_at)
    assert batch is not None
    assert (batch.lane, batch.items) == (lane, [work])
    assert dispatcher.next_batch(pool, work.queued_at) is None
    assert list(pools.queues()) == []
    assert pool.backlogs() == []


def test_the_timer_is_needed_only_while_time_alone_lets_something_go() -> None:
    pools, dispatcher = Pools(), Dispatcher(per_worker=2, shared_batch_s=0.0)
    pool, lane = pools.open(MODEL)
    assert dispatcher.until_next_s(pool, 0.0) is None
    lane.batch_s = 5.0
    for number in range(5):
        work = item(str(number))
        work.queued_at = 10.0
        pool.push(lane, work, 10.0)
    first = dispatcher.next_batch(pool, 10.0)
    assert first is not None
    pools.add(dispatch(lane, first.items, first.priority, reply_to="reply"))
    assert dispatcher.next_batch(pool, 11.0) is None
    assert dispatcher.until_next_s(pool, 11.0) == pytest.approx(4.0), "sent ahead when a batch's time has passed"
    second = dispatcher.next_batch(pool, 15.0)
    assert second is not None
    pools.add(dispatch(lane, second.items, second.priority, reply_to="reply"))
    for number in range(4):
        pool.push(lane, item(str(number)), 15.0)
    assert dispatcher.next_batch(pool, 99.0) is None
    until = dispatcher.until_next_s(pool, 99.0)
    assert until is None, "two are on their way, and only one that comes back lets another go"
