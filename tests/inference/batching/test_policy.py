"""The rules of batching as they stand in ``policy.py``: what must hold for every state."""

import math

from hypothesis import given
from hypothesis import strategies as st

from inference.batching import policy
from inference.batching.policy import Backlog, Bounds, Draft, Pool, Waiting
from inference.batching.speed import Speed

SECONDS = st.floats(0, 100)
POOLS = st.builds(
    Pool,
    workers=st.integers(1, 8),
    per_worker=st.integers(1, 3),
    in_flight=st.integers(0, 30),
    others_waiting=st.integers(0, 30),
    ahead_in_s=st.sampled_from([0.0, 0.02, 5.0]),
)
BOUNDS = st.builds(
    Bounds, max_size=st.integers(1, 64), max_tokens=st.sampled_from([0, 1, 100, 5000]), max_delay_s=st.floats(0, 1)
)
WAITING = st.builds(
    Waiting, inputs=st.integers(0, 200), tokens=st.integers(0, 20_000), oldest_s=SECONDS, batch_s=st.floats(0, 10)
)


@given(WAITING, BOUNDS, POOLS)
def test_when_a_batch_may_go(waiting: Waiting, bounds: Bounds, pool: Pool) -> None:
    pause = policy.pause_s(waiting, bounds, pool)
    if not waiting.inputs or pool.in_flight >= pool.bound:
        assert pause is None, "nothing waits, or enough is on its way"
        return
    assert pause is not None
    full = waiting.inputs >= bounds.max_size or (bounds.max_tokens and waiting.tokens >= bounds.max_tokens)
    free = pool.in_flight < pool.workers
    if full:
        assert pause == (0 if free else pool.ahead_in_s)
    elif free:
        assert pause <= bounds.max_delay_s, "for a free worker nothing waits longer than the version allows"
        if not bounds.max_delay_s:
            assert pause == 0, "at low load no timer delays an input"
    else:
        patience = max(waiting.batch_s, bounds.max_delay_s)
        assert pool.ahead_in_s <= pause <= max(patience, pool.ahead_in_s)
        assert (pause == 0) == (waiting.oldest_s >= patience and pool.ahead_in_s == 0)


@given(POOLS)
def test_other_processes_push_the_bound_down_but_never_to_nothing(pool: Pool) -> None:
    alone = Pool(pool.workers, pool.per_worker, pool.in_flight)
    assert 1 <= pool.bound <= alone.bound == pool.workers * pool.per_worker
    if pool.others_waiting > pool.workers * (pool.per_worker + 1):
        assert pool.bound == 1


@given(BOUNDS, st.lists(st.integers(1, 3000), max_size=100), st.floats(0, 0.01), st.sampled_from([0.0, 0.05]))
def test_a_draft_keeps_its_bounds(bounds: Bounds, sizes: list[int], token_s: float, max_seconds: float) -> None:
    draft = Draft(bounds, Speed(token_s), max_seconds)
    taken: list[int] = []
    for size in sizes:
        if draft.fits(size):
            draft.add(size)
            taken.append(size)
    if sizes:
        assert taken[0] == sizes[0], "the first one always goes, or it would wait for ever"
    assert len(taken) <= bounds.max_size
    if len(taken) > 1:
        tokens = sum(taken)
        assert not bounds.max_tokens or tokens <= bounds.max_tokens
        assert not max_seconds or tokens * token_s <= max_seconds
        padded = max(*taken, policy.SHORT) * len(taken)
        assert max(*taken, policy.SHORT) <= 4 * max(min(taken), policy.SHORT), "no text waits for one much longer"
        assert padded <= 2 * max(tokens, policy.SHORT * len(taken)), "padding never doubles the work"


@given(st.lists(st.integers(1, policy.SHORT), min_size=1, max_size=64))
def test_short_texts_share_a_batch_whatever_their_lengths(sizes: list[int]) -> None:
    draft = Draft(Bounds(64))
    for size in sizes:
        assert draft.fits(size)
        draft.add(size)


def test_a_long_text_and_short_ones_go_in_batches_of_their_own() -> None:
    for first, then in ((500, 8), (8, 500)):
        draft = Draft(Bounds(64))
        draft.add(first)
        draft.add(first)
        assert not draft.fits(then)


BACKLOGS = st.lists(
    st.builds(Backlog, tenant_id=st.integers(1, 6), seconds=st.floats(0, 50), weight=st.integers(1, 9)),
    max_size=6,
    unique_by=lambda each: each.tenant_id,
)


@given(BACKLOGS, st.floats(0.001, 5), st.integers(1, 9), st.floats(0, 5), st.integers(1, 4))
def test_the_expected_wait(
    backlogs: list[Backlog], own_s: float, weight: int, in_flight_s: float, workers: int
) -> None:
    def wait(**changed: float) -> float:
        said = {"own_s": own_s, "weight": weight, "in_flight_s": in_flight_s, "workers": workers} | changed
        return policy.expected_wait_s(
            own_s=said["own_s"],
            tenant_id=1,
            weight=int(said["weight"]),
            backlogs=backlogs,
            in_flight_s=said["in_flight_s"],
            workers=int(said["workers"]),
        )

    everything = own_s + in_flight_s + sum(each.seconds for each in backlogs)
    least = own_s + in_flight_s + sum(each.seconds for each in backlogs if each.tenant_id == 1)
    assert least / workers <= wait() + 1e-9
    assert wait() <= everything / workers + 1e-9
    assert wait(weight=weight + 1) <= wait() + 1e-9, "a heavier tenant waits no longer"
    assert wait(workers=workers + 1) <= wait()
    assert wait(own_s=own_s * 2) >= wait()


def test_a_quiet_tenant_does_not_wait_for_a_noisy_ones_backlog() -> None:
    noisy = Backlog(tenant_id=2, seconds=60.0, weight=1)
    wait = policy.expected_wait_s(own_s=0.01, tenant_id=1, weight=1, backlogs=[noisy], in_flight_s=0.05, workers=1)
    assert math.isclose(wait, 0.07)


@given(BACKLOGS, st.floats(0.001, 5), st.integers(1, 4), st.floats(0, 8))
def test_what_others_ask_for_meanwhile_prolongs_the_wait_up_to_what_they_earn(
    backlogs: list[Backlog], own_s: float, workers: int, busy: float
) -> None:
    def wait(busy_for_others: float) -> float:
        return policy.expected_wait_s(
            own_s=own_s,
            tenant_id=1,
            weight=1,
            backlogs=backlogs,
            in_flight_s=0.5,
            workers=workers,
            busy_for_others=busy_for_others,
        )

    assert wait(0.0) <= wait(busy) <= wait(busy + 1) + 1e-9
    mine = own_s + sum(each.seconds for each in backlogs if each.tenant_id == 1)
    weights = 1 + sum(each.weight for each in backlogs if each.tenant_id != 1)
    assert wait(busy) <= max(wait(0.0), 0.5 / workers + mine * weights / workers) + 1e-9


def test_a_noisy_tenant_waits_for_what_quiet_ones_ask_for_meanwhile() -> None:
    waiting = [Backlog(tenant_id=1, seconds=2.0, weight=1), Backlog(tenant_id=2, seconds=0.01, weight=1)]

    def wait(busy_for_others: float) -> float:
        return policy.expected_wait_s(
            own_s=0.01,
            tenant_id=1,
            weight=1,
            backlogs=waiting,
            in_flight_s=0.05,
            workers=1,
            busy_for_others=busy_for_others,
        )

    assert math.isclose(wait(0.0), 2.07)
    assert math.isclose(wait(0.4), 0.05 + 2.01 / 0.6)
    assert math.isclose(wait(0.9), 0.05 + 2.01 / 0.5), "half is its own"


@given(st.binary(max_size=200))
def test_sizes(payload: bytes) -> None:
    assert policy.size_of(payload, text=False) == 1
    assert policy.size_of(payload, text=True) == max(1, math.ceil(len(payload) / 4))
