"""A full queue makes room for whoever has less in it, and for nobody else."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.batching.fair_queue import FairQueue, Totals
from inference.batching.room import Room
from inference.batching.work import Hold, WorkItem
from inference.types import Priority
from mlplatform.lib.errors import ErrorKind, PlatformError
from tests.inference.batching.conftest import Make
from tests.inference.batching.wire import MODEL, Wire, item, outcome, payloads
from tests.inference.test_canonical import reference


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


def test_background_work_gives_way_first_and_drives_nobody_out(make: Make, wire: Wire) -> None:
    batcher = make(max_queued=2)
    batcher.submit([(MODEL, [item("x")])])
    wire.next()

    first, second = (item(f"s{tenant}", tenant, priority=Priority.BACKGROUND) for tenant in (1, 2))
    batcher.submit([(MODEL, [first, second])])
    with pytest.raises(PlatformError):
        batcher.submit([(MODEL, [item("s3", 3, priority=Priority.BACKGROUND)])])
    batcher.submit([(MODEL, [item("a", 1)])])
    batcher.submit([(MODEL, [item("b", 1)])])
    assert [isinstance(outcome(work), PlatformError) for work in (first, second)] == [True, True]
    with pytest.raises(PlatformError):
        batcher.submit([(MODEL, [item("s4", 2, priority=Priority.BACKGROUND)])])


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


@dataclass(frozen=True)
class Sized:
    """An input by what matters for room."""

    tenant: int
    priority: Priority
    size: int
    weight: int
    abandoned: bool

    def queued(self, at: float) -> WorkItem:
        work = WorkItem(
            payload=b"x" * self.size,
            cache_key=b"",
            hold=Hold("hold", self.tenant, 1),
            deadline=0.0,
            queued_at=at,
            priority=self.priority,
            weight=self.weight,
        )
        if self.abandoned:
            work.leave()
        return work


SIZED = st.builds(
    Sized, st.integers(1, 4), st.sampled_from(Priority), st.integers(0, 9), st.integers(1, 3), st.booleans()
)
NEWCOMERS = st.tuples(st.integers(1, 4), st.sampled_from(Priority), st.lists(st.integers(0, 9), min_size=1, max_size=6))


def share(items: list[WorkItem]) -> float:
    """What a tenant has of a queue for 12 inputs and 40 bytes."""
    return max(len(items) / 12, sum(len(work.payload) for work in items) / 40) / items[0].weight if items else 0.0


@given(st.lists(st.tuples(st.integers(0, 2), SIZED), max_size=20), NEWCOMERS)
def test_room_is_made_fairly_or_not_at_all(
    pushes: list[tuple[int, Sized]], call: tuple[int, Priority, list[int]]
) -> None:
    totals = Totals()
    room = Room(totals, max_inputs=12, max_bytes=40)
    queues = [(priority, FairQueue(totals)) for priority in Priority for _ in range(3)]
    waiting: list[WorkItem] = []
    weights: dict[int, int] = {}
    for number, (place, sized) in enumerate(pushes):
        work = sized.queued(float(number))
        work.weight = weights.setdefault(sized.tenant, sized.weight)
        if totals.inputs < 12 and totals.bytes + sized.size <= 40:
            queues[3 * sized.priority + place][1].push(work)
            waiting.append(work)
    tenant, priority, sizes = call
    weight = weights.get(tenant, 1)
    newcomers = [Sized(tenant, priority, size, weight, abandoned=False).queued(99.0) for size in sizes]
    wanted = [work for work in waiting if not work.abandoned]

    dropped = room.make(newcomers, queues)

    left = [work for _, queue in queues for tenant_queue in queue._tenants.values() for work in tenant_queue.items()]
    assert (totals.inputs, totals.bytes) == (len(left), sum(len(work.payload) for work in left))
    if dropped is None:
        assert {id(work) for work in left} == {id(work) for work in wanted}, "nobody was driven out for nothing"
        return
    assert totals.inputs + len(newcomers) <= 12
    assert totals.bytes + sum(sizes) <= 40
    assert {id(work) for work in [*left, *dropped]} >= {id(work) for work in wanted}
    if dropped:
        assert priority is Priority.INTERACTIVE
        people = [work for work in wanted if work.priority is Priority.INTERACTIVE]
        mine = share([work for work in people if work.hold.tenant_id == tenant]) + share(newcomers)
        for victim in {work.hold.tenant_id for work in dropped if work.priority is Priority.INTERACTIVE}:
            assert victim != tenant
            assert share([work for work in people if work.hold.tenant_id == victim]) > mine
            assert not any(work.priority is Priority.BACKGROUND for work in left), (
                "work that nobody waits for goes first"
            )
