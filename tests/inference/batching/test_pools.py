"""What is counted while inputs come and go is what a walk through all queues would find, and unused lanes are forgotten."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.batching.dispatcher import Dispatcher
from inference.batching.lanes import Lane, dispatch
from inference.batching.pools import COMPETING_S, FORGET_S, Pools, PoolState
from inference.batching.room import Room
from inference.batching.work import Hold, WorkItem
from inference.types import Priority
from tests.inference.batching.conftest import Make
from tests.inference.batching.wire import MODEL, Wire, item, outcome, payloads, walk
from tests.inference.inputs.test_canonical import reference
from tests.support.examples import examples

MODELS = [reference(version_id=number, max_batch_size=3) for number in range(3)]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, 2), st.integers(1, 3), st.sampled_from(Priority), st.integers(0, 9)),
        st.tuples(st.just("abandon"), st.integers(0, 30)),
        st.tuples(st.just("send")),
        st.tuples(st.just("complete")),
        st.tuples(st.just("make room"), st.integers(1, 3), st.integers(0, 60)),
        st.tuples(st.just("forget")),
        st.tuples(st.just("clear")),
    ),
    max_size=50,
)


def sized(tenant: int, size: int, priority: Priority, at: float) -> WorkItem:
    hold = Hold("hold", tenant, 1)
    return WorkItem(b"x" * size, b"", hold, deadline=1e9, queued_at=at, priority=priority, size=size + 1)


def found(pools: Pools) -> dict[Lane, dict[Priority, list[WorkItem]]]:
    """Everything that waits, by a walk."""
    return {
        lane: {
            priority: [work for tenant in queue._tenants.values() for work in tenant.items()]
            for priority, queue in lane.queues.items()
        }
        for pool in pools
        for lane in pool.lanes.values()
    }


@examples(150)
@given(STEPS)
def test_totals_are_what_a_walk_finds(steps: list[tuple[object, ...]]) -> None:
    pools, dispatcher = Pools(), Dispatcher(per_worker=2, shared_batch_s=0.0)
    room = Room(pools.totals, max_inputs=12, max_bytes=60)
    served: dict[Lane, int] = {}
    """When each lane was served or opened last: who waits goes in this order."""
    now = 0.0
    for number, (step, *more) in enumerate(steps):
        now += 1.0
        match step, more:
            case "push", [int(model), int(tenant), Priority() as priority, int(size)]:
                pool, lane = pools.open(MODELS[model])
                served.setdefault(lane, number)
                pool.push(lane, sized(tenant, size, priority, now), now)
            case "abandon", [int(place)]:
                everything = [work for lanes in found(pools).values() for items in lanes.values() for work in items]
                if place < len(everything):
                    everything[place].leave()
            case "send", _:
                for pool in pools:
                    if (batch := dispatcher.next_batch(pool, now)) is not None:
                        served[batch.lane] = number
                        pools.add(dispatch(batch.lane, batch.items, batch.priority, reply_to="reply"))
            case "complete", _:
                for sent in pools.in_flight()[:1]:
                    assert pools.complete(sent, now)
            case "make room", [int(tenant), int(size)]:
                room.make([sized(tenant, size, Priority.INTERACTIVE, now)], pools.queues())
            case "forget", _:
                now += 2 * FORGET_S
                pools.forget_lanes(now)
                kept = {lane for pool in pools for lane in pool.lanes.values()}
                served = {lane: when for lane, when in served.items() if lane in kept}
            case "clear", _:
                pools.clear()
                served.clear()
        check(pools, served)


def check(pools: Pools, served: dict[Lane, int]) -> None:
    walked = found(pools)
    items = [work for lane in walked.values() for works in lane.values() for work in works]
    assert (pools.totals.inputs, pools.totals.bytes) == (len(items), sum(len(work.payload) for work in items))
    for lane, queues in walked.items():
        for priority, works in queues.items():
            queue = lane.queues[priority]
            assert len(queue) == len(works)
            assert queue.tokens == sum(work.size for work in works)
            assert queue.bytes == sum(len(work.payload) for work in works)
    for pool in pools:
        for priority in Priority:
            waiting = [lane for lane in pool.lanes.values() if walked[lane][priority]]
            assert pool.in_turn(priority) == sorted(waiting, key=lambda lane: served[lane])


def test_tenants_compete_while_two_of_them_came_within_a_second() -> None:
    pools = Pools()
    pool, lane = pools.open(MODEL)

    def comes(tenant: int, at: float, priority: Priority = Priority.INTERACTIVE) -> None:
        pool.push(lane, sized(tenant, 1, priority, at), at)

    comes(1, 0.0)
    comes(2, 0.0, Priority.BACKGROUND)
    assert not pool.competing(0.0), "shadows take nobody's turn"
    comes(2, 0.5)
    assert pool.competing(COMPETING_S)
    assert not pool.competing(COMPETING_S + 0.1), "the first one has gone"
    comes(1, 1.2)
    assert pool.competing(1.4)
    assert not pool.competing(3.0)


Prepare = Callable[[PoolState, Lane], None]


def one_waits(pool: PoolState, lane: Lane) -> None:
    pool.push(lane, sized(1, 1, Priority.BACKGROUND, lane.used_at), lane.used_at)


def one_flies(pool: PoolState, lane: Lane) -> None:
    sent = dispatch(lane, [item("a")], Priority.INTERACTIVE, reply_to="reply")
    pool.in_flight[sent.message.batch_id] = sent


@pytest.mark.parametrize("prepare", [one_waits, one_flies])
def test_a_lane_is_kept_while_something_waits_or_flies(prepare: Prepare) -> None:
    pools = Pools()
    pool, lane = pools.open(MODEL)
    prepare(pool, lane)
    pools.forget_lanes(lane.used_at + 2 * FORGET_S)
    assert pools.find(MODEL) == (pool, lane)


def test_lanes_of_retired_versions_are_forgotten_after_some_minutes(
    make: Make, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    batcher = make()
    work = item("a")
    batcher.submit([(MODEL, [work])])
    wire.answer(wire.next(), compute_s=0.5)
    assert outcome(work) == b"a"
    walk(monkeypatch, FORGET_S - 30)
    wire.settle_down()
    kept = batcher._pools.find(MODEL)
    assert kept is not None
    assert kept[1].speed.token_s == pytest.approx(0.5), "what was learned of its speed stays as long"
    walk(monkeypatch, 60.0)
    wire.settle_down()
    assert batcher._pools.find(MODEL) is None
    again = item("b")
    batcher.submit([(MODEL, [again])])
    message = wire.next()
    assert payloads(message) == ["b"]
    wire.answer(message)
    assert outcome(again) == b"b"
