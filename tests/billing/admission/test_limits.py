"""Each kind of limit against a model of it in Python, over random histories on a real Redis."""

import datetime as dt
import math
from collections import defaultdict
from collections.abc import Callable
from fractions import Fraction
from typing import Protocol

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from billing.admission import MAX_AMOUNT, Limit, LimitKind
from tests.billing.admission.world import DAY, SECOND, START, World, limit
from tests.support.examples import examples

HISTORIES = examples(
    60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Model(Protocol):
    """What a limit should do, said as plainly as possible."""

    def fits(self, now: int, take: int) -> bool: ...

    def take(self, now: int, take: int) -> None: ...


class Bucket:
    def __init__(self, rule: Limit) -> None:
        self.capacity, self.rate = rule.amount, Fraction(*rule.refill())
        self.level, self.at = Fraction(rule.amount), START

    def fits(self, now: int, take: int) -> bool:
        self.level = min(Fraction(self.capacity), self.level + self.rate * (now - self.at) / SECOND)
        self.at = now
        return take <= self.level

    def take(self, now: int, take: int) -> None:
        self.level -= take


class Periods:
    def __init__(self, rule: Limit, period: Callable[[int], object]) -> None:
        self.amount, self.period = rule.amount, period
        self.used: dict[object, int] = defaultdict(int)

    def fits(self, now: int, take: int) -> bool:
        return self.used[self.period(now)] + take <= self.amount

    def take(self, now: int, take: int) -> None:
        self.used[self.period(now)] += take


def month(now: int) -> object:
    moment = dt.datetime.fromtimestamp(now / SECOND, dt.UTC)
    return moment.year, moment.month


BUCKETS = st.builds(
    lambda amount, rate: limit(LimitKind.TOKEN_BUCKET, amount, rate=rate),
    st.integers(1, 200),
    st.sampled_from([0.1, 0.25, 1 / 3, 1.0, 7.0, 10.0, 999.9, 1e6]),
)
WINDOWS = st.builds(
    lambda amount, window_s: limit(LimitKind.FIXED_WINDOW, amount, window_s=window_s),
    st.integers(1, 200),
    st.sampled_from([1, 5, 60, 3600]),
)
SLIDING = st.builds(
    lambda amount, window_s: limit(LimitKind.SLIDING_WINDOW, amount, window_s=window_s),
    st.integers(1, 200),
    st.sampled_from([1, 7, 60, 3600]),
)
MONTHS = st.builds(lambda amount: limit(LimitKind.MONTHLY, amount), st.integers(1, 200))


def steps(longest: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    """A history: how long to wait (microseconds), how much to ask for."""
    waits = st.one_of(st.just(0), st.just(1), st.integers(0, longest), st.integers(0, max(1, longest // 50)))
    return st.lists(st.tuples(waits, st.integers(0, 80)), min_size=1, max_size=25)


def follow(world: World, rule: Limit, model: Model, history: list[tuple[int, int]]) -> None:
    """Every decision is the model's; nothing is taken by a refusal."""
    world.start_over()
    for wait, take in history:
        world.pass_us(wait)
        fits = take == 0 or model.fits(world.now, take)
        assert world.spend([rule], take).granted is fits
        if fits:
            model.take(world.now, take)


@HISTORIES
@given(rule=BUCKETS, history=steps(20 * SECOND))
def test_bucket_decides_as_exact_arithmetic_does(world: World, rule: Limit, history: list[tuple[int, int]]) -> None:
    follow(world, rule, Bucket(rule), history)


@HISTORIES
@given(rule=WINDOWS, history=steps(90 * SECOND))
def test_fixed_window_decides_as_a_count_per_window_does(
    world: World, rule: Limit, history: list[tuple[int, int]]
) -> None:
    follow(world, rule, Periods(rule, lambda now: now // (rule.window_s * SECOND)), history)


@HISTORIES
@given(rule=MONTHS, history=steps(40 * DAY))
def test_month_decides_as_a_count_per_calendar_month_does(
    world: World, rule: Limit, history: list[tuple[int, int]]
) -> None:
    follow(world, rule, Periods(rule, month), history)


@HISTORIES
@given(rule=SLIDING, history=steps(30 * SECOND))
def test_sliding_window_is_never_oversold_and_refuses_only_what_a_slice_more_would_hold(
    world: World, rule: Limit, history: list[tuple[int, int]]
) -> None:
    world.start_over()
    window = rule.window_s * SECOND
    one_slice = math.ceil(window / 60)
    granted: list[tuple[int, int]] = []

    def within(length: int) -> int:
        return sum(units for at, units in granted if at > world.now - length)

    for wait, take in history:
        world.pass_us(wait)
        if world.spend([rule], take).granted:
            granted.append((world.now, take))
            assert within(window) <= rule.amount
        else:
            assert within(window + 2 * one_slice) + take > rule.amount


@HISTORIES
@given(
    rule=st.one_of(BUCKETS, WINDOWS, SLIDING, MONTHS),
    history=st.lists(st.tuples(st.integers(-2 * DAY, 2 * DAY), st.integers(1, 80)), min_size=1, max_size=25),
)
def test_bucket_and_windows_hold_no_more_than_forward_time_allows_when_the_clock_goes_to_and_fro(
    world: World, rule: Limit, history: list[tuple[int, int]]
) -> None:
    """Steps back refill nothing: what is granted is bounded by the capacity and the steps forward.

    A counted period that is moved to the present ends at the present's own boundary, which a step forward of a
    microsecond may cross; so each step back can open one period more, and never more than one.
    """
    world.start_over()
    forward = 0
    backward_steps = 0
    granted = 0
    for step, take in history:
        world.pass_us(step)
        forward += max(0, step)
        backward_steps += step < 0
        if world.spend([rule], take).granted:
            granted += take
        assert granted <= most(rule, forward, backward_steps)


def most(rule: Limit, forward: int, backward_steps: int) -> float | Fraction:
    """What a limit may grant while its clock goes forward by so many microseconds and so often steps back."""
    match rule.kind:
        case LimitKind.TOKEN_BUCKET:
            return rule.amount + Fraction(*rule.refill()) * forward / SECOND
        case LimitKind.MONTHLY:
            return rule.amount * (2 + backward_steps + forward // (28 * DAY))
        case _:
            return rule.amount * (2 + backward_steps + forward // (rule.window_s * SECOND))


@pytest.mark.parametrize("back", [1, SECOND, 59 * SECOND, 61 * SECOND, 3600 * SECOND, 400 * DAY, 9000 * DAY])
@pytest.mark.parametrize(
    ("rule", "whole_again_after"),
    [
        (limit(LimitKind.TOKEN_BUCKET, 100, rate=10.0), 10 * SECOND),
        (limit(LimitKind.FIXED_WINDOW, 100), 120 * SECOND),
        (limit(LimitKind.SLIDING_WINDOW, 100), 122 * SECOND),
        (limit(LimitKind.MONTHLY, 100), 62 * DAY),
    ],
    ids=lambda value: str(getattr(value, "kind", "")),
)
def test_clock_stepped_back_gives_nothing_and_blocks_no_longer_than_two_windows(
    world: World, rule: Limit, whole_again_after: int, back: int
) -> None:
    assert world.spend([rule], 100).granted
    world.pass_us(-back)
    decision = world.spend([rule], 1)
    assert not decision.granted
    assert 0 < decision.wait_s <= whole_again_after / SECOND
    world.pass_us(whole_again_after)
    assert world.spend([rule], 100).granted


@pytest.mark.parametrize("rules", [BUCKETS, WINDOWS, SLIDING, MONTHS], ids=["bucket", "fixed", "sliding", "month"])
@HISTORIES
@given(data=st.data())
def test_wait_is_exact(world: World, rules: st.SearchStrategy[Limit], data: st.DataObject) -> None:
    """A microsecond before the wait is over the same charge is refused; after it, it is granted."""
    world.start_over()
    rule = data.draw(rules)
    for wait, earlier in data.draw(steps(20 * SECOND)):
        world.pass_us(wait)
        world.spend([rule], earlier % (rule.amount + 1))
    room = world.remaining(rule)[0]
    if room == rule.amount:
        return
    # From the least that does not fit to all there can be.
    take = data.draw(st.integers(room + 1, rule.amount))
    decision = world.spend([rule], take)
    assert not decision.granted
    world.pass_us(round(decision.wait_s * SECOND) - 1)
    assert not world.spend([rule], take).granted
    world.pass_us(1)
    assert world.spend([rule], take).granted


@pytest.mark.parametrize("into_slice", [0, 1, SECOND // 2, SECOND - 1])
def test_sliding_window_counts_a_slice_until_all_of_it_is_old(world: World, into_slice: int) -> None:
    """A minute has slices of a second; what was taken at the very end of one counts for the whole minute after."""
    rule = limit(LimitKind.SLIDING_WINDOW, 100)
    slice_start = world.now // SECOND * SECOND
    world.at(slice_start + into_slice)
    assert world.spend([rule], 100).granted
    world.pass_us(60 * SECOND - 1)
    decision = world.spend([rule], 1)
    assert not decision.granted
    assert round(decision.wait_s * SECOND) == slice_start + 61 * SECOND - world.now
    world.at(slice_start + 61 * SECOND)
    assert world.spend([rule], 100).granted


@HISTORIES
@given(
    rules=st.tuples(BUCKETS, WINDOWS, SLIDING, MONTHS),
    history=steps(20 * SECOND),
)
def test_all_limits_are_taken_from_or_none(
    world: World, rules: tuple[Limit, ...], history: list[tuple[int, int]]
) -> None:
    world.start_over()
    for wait, take in history:
        world.pass_us(wait)
        before = world.remaining(*rules)
        decision = world.spend(rules, take)
        taken = take if decision.granted else 0
        assert [state.remaining for state in decision.states] == [room - taken for room in before]
        assert decision.granted is (take == 0 or all(take <= room for room in before))
        assert [state.refused for state in decision.states] == [0 < take > room for room in before]


@HISTORIES
@given(rule=BUCKETS, idle=st.integers(0, 4000 * DAY), take=st.integers(0, 200))
def test_refill_never_exceeds_the_capacity(world: World, rule: Limit, idle: int, take: int) -> None:
    world.start_over()
    world.spend([rule], min(take, rule.amount))
    world.pass_us(idle)
    assert world.remaining(rule)[0] <= rule.amount
    assert not world.spend([rule], rule.amount + 1).granted


@pytest.mark.parametrize(
    ("amount", "rate"), [(MAX_AMOUNT, 1.0), (MAX_AMOUNT, 1e9), (9_000_000, 0.001), (7, 1 / 86_400), (1, 1e-6)]
)
def test_bucket_at_the_edges_of_what_is_countable_wastes_nothing(world: World, amount: int, rate: float) -> None:
    rule = limit(LimitKind.TOKEN_BUCKET, amount, rate=rate)
    assert world.spend([rule], amount).granted
    decision = world.spend([rule], 1)
    wait = round(decision.wait_s * SECOND)
    assert math.isclose(decision.wait_s, 1 / rate, rel_tol=1e-5, abs_tol=1e-6)
    # Many looks on the way lose no part of a unit to rounding.
    for _ in range(10):
        world.pass_us(wait // 10)
        world.peek([rule])
    world.pass_us(wait - wait // 10 * 10)
    assert world.spend([rule], 1).granted


def test_bucket_keeps_its_level_when_its_rate_is_changed(world: World) -> None:
    assert world.spend([limit(LimitKind.TOKEN_BUCKET, 100, rate=10.0)], 60).granted
    assert world.remaining(limit(LimitKind.TOKEN_BUCKET, 100, rate=1 / 3)) == [40]
    assert world.remaining(limit(LimitKind.TOKEN_BUCKET, 30, rate=1 / 3)) == [30]


@pytest.mark.parametrize("kind", [LimitKind.FIXED_WINDOW, LimitKind.SLIDING_WINDOW])
def test_window_keeps_its_count_when_its_length_is_changed(world: World, kind: LimitKind) -> None:
    assert world.spend([limit(kind, 100, window_s=60)], 60).granted
    longer = limit(kind, 100, window_s=3600)
    assert not world.spend([longer], 41).granted
    assert world.spend([longer], 40).granted
    world.pass_us(2 * 3600 * SECOND)
    assert world.remaining(longer) == [100]


def test_limit_whose_kind_is_changed_starts_anew(world: World) -> None:
    assert world.spend([limit(LimitKind.FIXED_WINDOW, 10, id="tenant:x")], 10).granted
    world.used = 4
    assert world.remaining(limit(LimitKind.MONTHLY, 10, id="tenant:x")) == [6]


def test_concurrency_frees_what_ends_and_hints_at_a_second(world: World) -> None:
    rule = limit(LimitKind.CONCURRENCY, 2, counts="requests")
    first = world.admit([rule], 50)
    second = world.admit([rule], 50)
    refused = world.admit([rule], 50)
    assert (first.granted, second.granted, refused.granted) == (True, True, False)
    assert refused.wait_s == 1.0
    world.settle(*first.hold_ids)
    assert world.remaining(rule) == [1]
    world.release(*second.hold_ids)
    assert world.remaining(rule) == [2]


@pytest.mark.parametrize("kind", list(LimitKind))
def test_charge_beyond_the_capacity_waits_for_ever(world: World, kind: LimitKind) -> None:
    decision = world.admit([limit(kind, 10)], 11)
    assert not decision.granted
    assert decision.wait_s == math.inf
    assert [state.refused for state in decision.states] == [True]


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": LimitKind.TOKEN_BUCKET, "amount": 10, "rate": 0.0},
        {"kind": LimitKind.TOKEN_BUCKET, "amount": 10, "rate": math.nan},
        {"kind": LimitKind.TOKEN_BUCKET, "amount": MAX_AMOUNT, "rate": 0.001},
        {"kind": LimitKind.FIXED_WINDOW, "amount": 10, "window_s": 0},
        {"kind": LimitKind.MONTHLY, "amount": -1},
        {"kind": LimitKind.MONTHLY, "amount": MAX_AMOUNT + 1},
        {"kind": LimitKind.MONTHLY, "amount": 10, "scope": "model"},
        {"kind": LimitKind.MONTHLY, "amount": 10, "id": ""},
    ],
)
def test_limit_that_cannot_be_counted_is_not_made(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="limit"):
        limit(**fields)  # type: ignore[arg-type]
