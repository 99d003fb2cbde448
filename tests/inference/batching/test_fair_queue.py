"""A tenant with a thousand inputs does not make a tenant with one wait."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from inference.batching.fair_queue import FairQueue, Totals
from inference.batching.policy import Bounds, Draft
from inference.batching.work import Hold, WorkItem


def item(tenant: int, number: int = 0, *, queued_at: float = 0.0) -> WorkItem:
    hold = Hold(hold_id=f"{tenant}-{number}", tenant_id=tenant, shard=1)
    return WorkItem(payload=b"", cache_key=b"", hold=hold, deadline=0.0, queued_at=queued_at)


def pop(queue: FairQueue, number: int) -> list[WorkItem]:
    """A batch of at most ``number`` inputs."""
    return queue.fill(Draft(Bounds(number)))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(1, 4)),
        st.tuples(st.just("pop"), st.integers(1, 5)),
        st.tuples(st.just("abandon"), st.integers(0, 30)),
    ),
    max_size=60,
)


@given(STEPS)
def test_whatever_is_pushed_popped_and_abandoned(steps: list[tuple[str, int]]) -> None:
    queue, waiting, taken, pushed = FairQueue(), dict[int, list[WorkItem]](), list[WorkItem](), 0
    for step, number in steps:
        if step == "push":
            queued = item(number, pushed, queued_at=float(pushed))
            pushed += 1
            queue.push(queued)
            waiting.setdefault(number, []).append(queued)
        elif step == "abandon":
            everyone = [queued for items in waiting.values() for queued in items]
            if number < len(everyone):
                everyone[number].leave()
        else:
            living = {tenant: [q for q in items if not q.abandoned] for tenant, items in waiting.items()}
            popped = pop(queue, number)
            assert len(popped) == min(number, sum(map(len, living.values())))
            for queued in popped:
                tenant = queued.hold.tenant_id
                assert queued is living[tenant].pop(0), "in the order in which the tenant asked"
                waiting[tenant] = waiting[tenant][waiting[tenant].index(queued) + 1 :]
            taken.extend(popped)
            # In one pop nobody gets two more than a tenant that still waits.
            served = Counter(queued.hold.tenant_id for queued in popped)
            for tenant, rest in living.items():
                if rest:
                    assert max(served.values(), default=0) - served[tenant] <= 1
    assert not any(queued.abandoned for queued in taken)
    rest = pop(queue, 1000)
    assert len(queue) == 0
    assert queue.oldest_queued_at() is None
    assert {queued.hold.hold_id for queued in rest} == {
        queued.hold.hold_id for items in waiting.values() for queued in items if not queued.abandoned
    }


@given(st.lists(st.integers(1, 5), min_size=1, max_size=60), st.integers(1, 7))
def test_a_tenant_waits_behind_at_most_one_input_of_each_other_tenant_a_turn(pushes: list[int], size: int) -> None:
    """Turns go on over pops: a batch boundary gives nobody a second place."""
    queue = FairQueue()
    for number, tenant in enumerate(pushes):
        queue.push(item(tenant, number))
    order: list[int] = []
    while len(queue):
        order += [queued.hold.tenant_id for queued in pop(queue, size)]
    assert Counter(order) == Counter(pushes)
    for tenant in set(pushes):
        places = [place for place, served in enumerate(order) if served == tenant]
        for before, after in zip([-1, *places], places, strict=False):
            between = Counter(order[before + 1 : after])
            assert max(between.values(), default=0) <= 1


def test_the_oldest_input_is_known() -> None:
    queue = FairQueue()
    for tenant, moment in ((1, 5.0), (2, 3.0), (1, 1.0)):
        queue.push(item(tenant, queued_at=moment))
    assert (len(queue), queue.oldest_queued_at()) == (3, 3.0)


def test_abandoned_inputs_take_no_place_in_a_batch() -> None:
    queue = FairQueue()
    items = [item(1, number) for number in range(4)]
    for queued in items:
        queue.push(queued)
    items[0].leave()
    items[2].succeed(b"")
    assert pop(queue, 2) == [items[1], items[3]]


WEIGHED = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 40)), min_size=1, max_size=80)


@given(WEIGHED, st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5)))
def test_busy_tenants_get_tokens_in_proportion_to_their_weights(
    pushes: list[tuple[int, int]], weights: tuple[int, int, int]
) -> None:
    """While two tenants wait, what each got over its weight differs by no more than two turns: deficit round robin's bound."""
    queue = FairQueue()
    left = Counter(tenant for tenant, _ in pushes)
    for number, (tenant, size) in enumerate(pushes):
        hold = Hold(hold_id=str(number), tenant_id=tenant, shard=1)
        queue.push(WorkItem(b"", b"", hold, 0.0, queued_at=number, weight=weights[tenant - 1], size=size))
    assert queue.tokens == sum(size for _, size in pushes)
    got = Counter[int]()
    while len(left) == len({t for t, _ in pushes}) > 1:
        (served,) = pop(queue, 1)
        got[served.hold.tenant_id] += served.size
        left[served.hold.tenant_id] -= 1
        left = +left
        shares = [got[tenant] / weights[tenant - 1] for tenant in left]
        assert max(shares) - min(shares) <= 2 * 40 * (1 + max(weights))


def test_a_heavier_tenant_gets_more_of_a_batch() -> None:
    queue = FairQueue()
    for tenant, weight in ((1, 1), (2, 3)):
        for number in range(12):
            hold = Hold(hold_id=f"{tenant}-{number}", tenant_id=tenant, shard=1)
            queue.push(WorkItem(b"", b"", hold, 0.0, queued_at=float(number), weight=weight))
    assert Counter(one.hold.tenant_id for one in pop(queue, 8)) == {1: 2, 2: 6}


def test_long_texts_leave_short_ones_of_the_same_tenant_their_batch() -> None:
    queue = FairQueue()
    for number, size in enumerate((10, 2000, 12, 1900, 8)):
        queue.push(WorkItem(b"", b"", Hold(str(number), 1, 1), 0.0, queued_at=float(number), size=size))
    assert [one.size for one in pop(queue, 8)] == [10, 12, 8]
    assert [one.size for one in pop(queue, 8)] == [2000, 1900]
    assert len(queue) == queue.tokens == queue.bytes == 0


def test_the_newest_inputs_of_a_tenant_can_be_found_and_dropped() -> None:
    queue = FairQueue()
    items = [
        WorkItem(b"xy", b"", Hold(str(number), 1, 1), 0.0, queued_at=float(number), size=size)
        for number, size in enumerate((1, 9, 2, 8, 1))
    ]
    for queued in [*items, item(2)]:
        queue.push(queued)
    assert list(queue.newest_first(1, without={items[3]})) == [items[4], items[2], items[1], items[0]]
    assert queue.counts([items[3]]) == {1: (4, 8, 1), 2: (1, 0, 1)}
    assert queue.counts(items) == {2: (1, 0, 1)}
    assert len(queue) == 6, "so far nothing was dropped"
    queue.drop([items[4], items[1]])
    assert (len(queue), queue.bytes, queue.tokens, queue.counts()) == (4, 6, 12, {1: (3, 6, 1), 2: (1, 0, 1)})


def test_who_comes_and_goes_between_two_batches_is_noted_once() -> None:
    queue = FairQueue()
    for number in range(100):
        queued = item(1 + number % 3, number)
        queue.push(queued)
        queued.leave()
        queue.purge()
    assert not queue._new
    for tenant in (2, 1, 2):
        queue.push(item(tenant))
    assert list(queue._new) == [2, 1]
    assert [one.hold.tenant_id for one in pop(queue, 3)] == [2, 1, 2]
    assert not queue._new


def sized(tenant: int, size: int) -> WorkItem:
    return WorkItem(payload=b"", cache_key=b"", hold=Hold(f"{tenant}", tenant, 1), deadline=0.0, size=size)


@given(st.integers(1, 6), st.integers(0, 6), st.sampled_from([4, 8, 32]))
def test_a_long_text_among_many_short_ones_has_its_turn(short_tenants: int, place: int, batch: int) -> None:
    queue, long = FairQueue(), 99
    row = list(range(short_tenants))
    row.insert(min(place, short_tenants), long)
    for tenant in row:
        queue.push(sized(tenant, 512 if tenant == long else 16))
    tokens: Counter[int] = Counter()
    for _ in range(2 * 512 // 16 * (short_tenants + 1)):
        for tenant in range(short_tenants):
            for _ in range(batch):
                queue.push(sized(tenant, 16))
        served = pop(queue, batch)
        if any(queued.hold.tenant_id == long for queued in served):
            break
        for queued in served:
            tokens[queued.hold.tenant_id] += queued.size
    else:
        raise AssertionError("the long text was never served")
    assert max(tokens.values(), default=0) <= 512 + 2 * 16 * batch, (
        "its turn comes when the others had as much, and a batch more"
    )


def test_a_tenant_that_asks_now_and_then_goes_to_the_front_once_in_a_round() -> None:
    queue = FairQueue()
    for number in range(9):
        queue.push(item(1 + number % 3, number, queued_at=float(number)))
    assert [one.hold.tenant_id for one in pop(queue, 1)] == [1]
    queue.push(item(9, 100))
    queue.push(item(8, 101))
    assert [one.hold.tenant_id for one in pop(queue, 2)] == [9, 8], "in the order in which they came"
    queue.push(item(9, 102))
    assert [one.hold.tenant_id for one in pop(queue, 4)] == [2, 3, 1, 9], "a round has not passed"
    for _ in range(3):
        pop(queue, 1)
    queue.push(item(9, 103))
    assert pop(queue, 1)[0].hold.tenant_id == 9, "now it has"


class Leaving(WorkItem):
    """Its caller leaves right after somebody asked whether it did."""

    @property
    def abandoned(self) -> bool:
        before = self._waiters <= 0
        self._waiters = 0
        return before


def test_an_input_whose_caller_leaves_during_a_purge_is_dropped_and_counted_together() -> None:
    totals = Totals()
    queue = FairQueue(totals)
    gone, leaving = item(1), Leaving(b"xyz", b"", Hold("leaving", 1, 1), deadline=0.0)
    gone.leave()
    queue.push(gone)
    queue.push(leaving)
    assert queue.purge() == 1
    assert (len(queue), queue.bytes, totals.inputs, totals.bytes) == (1, 3, 1, 3)
    assert queue.purge() == 1
    assert (len(queue), queue.bytes, totals.inputs, totals.bytes) == (0, 0, 0, 0)
    assert queue.oldest_queued_at() is None
