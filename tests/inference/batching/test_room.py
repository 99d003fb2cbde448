"""A full queue makes room for whoever has less in it, and for nobody else."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.batching.fair_queue import FairQueue, Totals
from inference.batching.policy import Bounds, Draft
from inference.batching.room import Room
from inference.batching.work import Hold, WorkItem
from inference.types import Priority
from mlplatform.lib.errors import ErrorKind, PlatformError
from tests.inference.batching.conftest import Make
from tests.inference.batching.wire import MODEL, Wire, item, outcome, payloads
from tests.inference.inputs.test_canonical import reference


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
        assert {id(work) for work in left} == {id(work) for work in waiting}, "nobody was driven out for nothing"
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


Lists = list[tuple[Priority, list[WorkItem]]]


def drop_one_by_one(
    lists: Lists, newcomers: Sequence[WorkItem], max_inputs: int, max_bytes: int
) -> list[WorkItem] | None:
    """What :meth:`Room.make` drops, in the simplest way: everything is counted anew for each input that goes."""

    def share_of(items: Sequence[WorkItem]) -> float:
        size = sum(len(work.payload) for work in items)
        return max(len(items) / max_inputs, size / max_bytes) / items[0].weight if items else 0.0

    def has_room() -> bool:
        items = [work for _, each in lists for work in each] + list(newcomers)
        return len(items) <= max_inputs and sum(len(work.payload) for work in items) <= max_bytes

    def of(tenant: int, priority: Priority) -> list[WorkItem]:
        return [work for each, items in lists if each is priority for work in items if work.hold.tenant_id == tenant]

    # Of equals goes who stands first in the first queue in which somebody waits for an input of theirs.
    row: dict[Priority, dict[int, None]] = {each: {} for each in Priority}
    for priority, items in lists:
        wanted = {work.hold.tenant_id for work in items if not work.abandoned}
        row[priority].update({work.hold.tenant_id: None for work in items if work.hold.tenant_id in wanted})
    if has_room():
        return []
    lists = [(priority, [work for work in items if not work.abandoned]) for priority, items in lists]
    if has_room():
        return []
    own = newcomers[0].hold.tenant_id
    mine = share_of(newcomers) + share_of(of(own, Priority.INTERACTIVE))
    dropped: list[WorkItem] = []
    while newcomers[0].priority is Priority.INTERACTIVE and not has_room():
        priority = Priority.BACKGROUND
        victims = [tenant for tenant in row[priority] if of(tenant, priority)]
        if not victims:
            priority = Priority.INTERACTIVE
            victims = [t for t in row[priority] if t != own and share_of(of(t, priority)) > mine]
        if not victims:
            return None
        victim = max(victims, key=lambda tenant: share_of(of(tenant, priority)))
        having = [items for each, items in lists if each is priority]
        fullest = max(having, key=lambda items: share_of([work for work in items if work.hold.tenant_id == victim]))
        newest = max((work for work in fullest if work.hold.tenant_id == victim), key=lambda work: work.queued_at)
        fullest.remove(newest)
        dropped.append(newest)
    return dropped if has_room() else None


@given(st.integers(0, 1 << 32))
def test_a_plan_drops_what_one_would_drop_who_counts_anew_for_each_input(seed: int) -> None:
    """The queues are drawn by a seed: lists that hypothesis draws are mostly too small for anybody to give way."""
    draw = random.Random(seed)
    totals = Totals()
    queues = [(priority, FairQueue(totals)) for priority in Priority for _ in range(3)]
    lists: Lists = [(priority, []) for priority, _ in queues]
    weights = [draw.randint(1, 3) for _ in range(6)]
    background, gone = draw.choice([0.0, 0.1, 0.5]), draw.choice([0.0, 0.1])
    for number in range(draw.randint(5, 50)):
        tenant = min(draw.randrange(6), draw.randrange(6))
        priority = Priority.BACKGROUND if draw.random() < background else Priority.INTERACTIVE
        sized = Sized(tenant, priority, draw.randrange(10), weights[tenant], abandoned=draw.random() < gone)
        work = sized.queued(float(number))
        work.size = draw.randint(1, 9)
        place = 3 * priority + draw.randrange(3)
        queues[place][1].push(work)
        lists[place][1].append(work)
    tenant = draw.randrange(6)
    new = Sized(tenant, Priority.INTERACTIVE, draw.randrange(10), weights[tenant], abandoned=False)
    newcomers = [new.queued(99.0) for _ in range(draw.randint(1, 6))]
    max_inputs = totals.inputs + draw.choice([0, 1, 50])
    max_bytes = max(1, totals.bytes + draw.choice([0, 10, 1000]))
    expected = drop_one_by_one(lists, newcomers, max_inputs, max_bytes)

    assert Room(totals, max_inputs=max_inputs, max_bytes=max_bytes).make(newcomers, queues) == expected


class Twin:
    """Full queues of two priorities and two versions, which do what they are told."""

    def __init__(self) -> None:
        self.totals = Totals()
        self.queues = [(priority, FairQueue(self.totals)) for priority in Priority for _ in range(2)]
        self.waiting: list[WorkItem] = []
        self.pushed = 0

    def act(self, what: str, place: int, sized: Sized) -> list[str]:
        """The ids of what was served."""
        queue = self.queues[2 * sized.priority + place][1]
        if what == "push":
            hold = Hold(f"{self.pushed}", sized.tenant, 1)
            work = WorkItem(
                b"x" * sized.size, b"", hold, 0.0, float(self.pushed), sized.priority, sized.weight, 1 + sized.size**2
            )
            self.pushed += 1
            self.waiting.append(work)
            queue.push(work)
        elif what == "leave" and self.waiting:
            self.waiting.pop(sized.size % len(self.waiting)).leave()
        elif what == "pop":
            return [work.hold.hold_id for work in queue.fill(Draft(Bounds(1 + sized.size % 4)))]
        return []

    def look(self) -> list[object]:
        return [
            (len(queue), queue.tokens, queue.counts(), queue.tenants(), list(queue._new), dict(queue._back_at))
            for _, queue in self.queues
        ]


ACTS = st.tuples(st.sampled_from(["push", "push", "push", "leave", "pop"]), st.integers(0, 1), SIZED)


@given(
    st.lists(ACTS, min_size=5, max_size=40), st.lists(NEWCOMERS, min_size=1, max_size=4), st.lists(ACTS, max_size=30)
)
def test_a_refusal_changes_nothing(
    before: list[tuple[str, int, Sized]],
    calls: list[tuple[int, Priority, list[int]]],
    after: list[tuple[str, int, Sized]],
) -> None:
    asked, twin = Twin(), Twin()
    for act in before:
        assert asked.act(*act) == twin.act(*act)
    room = Room(asked.totals, max_inputs=max(1, asked.totals.inputs), max_bytes=max(1, asked.totals.bytes))
    for tenant, priority, sizes in calls:
        newcomers = [Sized(tenant, priority, size, 1, abandoned=False).queued(99.0) for size in sizes]
        if room.make(newcomers, asked.queues) is not None:
            return
    assert asked.look() == twin.look()
    assert asked.totals == twin.totals
    for act in after:
        assert asked.act(*act) == twin.act(*act)
    for (_, one), (_, other) in zip(asked.queues, twin.queues, strict=True):
        while len(one) or len(other):
            served = [[work.hold.hold_id for work in queue.fill(Draft(Bounds(3)))] for queue in (one, other)]
            assert served[0] == served[1]


def test_a_thousand_refusals_leave_no_trace() -> None:
    totals = Totals()
    queue = FairQueue(totals)
    room = Room(totals, max_inputs=12, max_bytes=1000)
    for number in range(12):
        queue.push(Sized(1 + number % 2, Priority.INTERACTIVE, 1, 1, abandoned=number == 4).queued(float(number)))
    newcomers = [Sized(3, Priority.INTERACTIVE, 1, 1, abandoned=False).queued(99.0) for _ in range(7)]
    for _ in range(1000):
        assert room.make(newcomers, [(Priority.INTERACTIVE, queue)]) is None
    assert (totals.inputs, list(queue._new)) == (12, [1, 2])
    assert Counter(work.hold.tenant_id for work in queue.fill(Draft(Bounds(99)))) == {1: 5, 2: 6}
