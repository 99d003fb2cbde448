"""What was settled for a call that was told "nothing was charged" is reversed: in the limits and, later, in the ledger."""

import pytest

from billing import admission
from billing.admission import LimitKind, Settled, Settlement
from mlplatform.lib.errors import ErrorKind, PlatformError
from tests.billing.admission.world import DAY, SECOND, SHARD, TENANT, World, limit

BURST = limit(LimitKind.TOKEN_BUCKET, 100)
MINUTE = limit(LimitKind.SLIDING_WINDOW, 100)
MONTH = limit(LimitKind.MONTHLY, 1000)
REQUESTS = limit(LimitKind.FIXED_WINDOW, 10, counts="requests")
RUNNING = limit(LimitKind.CONCURRENCY, 3, counts="requests")
OF_LARGE = limit(LimitKind.FIXED_WINDOW, 50, id="model:large", scope="model", subject="large")
ALL = (BURST, MINUTE, MONTH, REQUESTS, RUNNING, OF_LARGE)
WHOLE = [100, 100, 1000, 10, 3, 50]


def voided(world: World) -> list[str]:
    return [fields[b"void"].decode() for _, fields in world.stream() if b"void" in fields]


def test_a_settled_hold_gives_back_what_stayed_taken(world: World) -> None:
    (hold,) = world.admit(ALL, world.charge(40, model="large")).hold_ids
    world.settle(Settlement(hold, 15))
    assert world.remaining(*ALL) == [85, 85, 985, 9, 3, 35]
    assert world.void(hold) == 1
    assert world.remaining(*ALL) == WHOLE
    assert voided(world) == [hold]
    assert world.usage() == []


def test_an_admission_that_metered_at_once_gives_everything_back(world: World) -> None:
    other, mine = world.charge(7), world.charge(5, model="large")
    world.admit(ALL, other, settle_now=True)
    world.admit(ALL, mine, world.charge(6), settle_now=True)
    assert world.void(mine.hold_id) == 1
    assert world.remaining(*ALL) == [87, 87, 987, 8, 3, 50]
    assert [units for _, units in world.usage()] == [7, 6]


def test_it_may_be_repeated_and_reverses_once(world: World) -> None:
    (hold,) = world.admit(ALL, 40, settle_now=True).hold_ids
    assert [world.void(hold), world.void(hold), world.release(hold)] == [1, 0, 1]
    assert voided(world) == [hold]
    assert world.remaining(*ALL) == WHOLE


@pytest.mark.parametrize("settle_now", [True, False])
def test_whatever_comes_after_it_does_nothing(world: World, settle_now: bool) -> None:
    charge = world.charge(40)
    assert world.void(charge.hold_id) == 0
    with pytest.raises(PlatformError) as caught:
        world.admit(ALL, charge, settle_now=settle_now)
    assert caught.value.kind is ErrorKind.CONFLICT
    assert world.settle(charge.hold_id) == (Settled.GONE,)
    assert world.remaining(*ALL) == WHOLE
    assert world.stream() == []


def test_a_hold_that_was_not_settled_is_given_back_without_a_trace(world: World) -> None:
    (hold,) = world.admit(ALL, 40).hold_ids
    assert world.void(hold) == 0
    assert world.remaining(*ALL) == WHOLE
    assert world.stream() == []


def test_windows_that_have_passed_take_nothing_back(world: World) -> None:
    world.at(world.now + 16 * DAY + 12 * 3600 * SECOND - 60 * SECOND)
    (hold,) = world.admit([MINUTE, MONTH], 40, settle_now=True).hold_ids
    world.pass_us(70 * SECOND)  # another month
    world.admit([MINUTE, MONTH], 10, settle_now=True)
    assert world.void(hold) == 1
    assert world.remaining(MINUTE, MONTH) == [90, 990]


def test_a_mark_of_an_older_release_is_reversed_in_the_ledger(world: World) -> None:
    world.client.hset(f"{{s{SHARD}}}:limits:{TENANT}", "+old", "s")
    assert world.void("old") == 1
    assert voided(world) == ["old"]


def test_more_than_one_script_takes_are_voided_in_several(world: World) -> None:
    month = limit(LimitKind.MONTHLY, 5000)
    holds = world.admit([month], *[1] * 700, settle_now=True).hold_ids
    assert world.void(*holds) == 700
    assert world.remaining(month) == [5000]


def test_a_mark_outlives_ten_minutes_in_which_the_server_stands_still(world: World) -> None:
    """The clockwork looks every 20 seconds; when the server wakes, it and others are faster than who takes the call back."""
    for _ in range(4):
        world.sweep()
        world.pass_us(20 * SECOND)
    (hold,) = world.admit(ALL, 40, settle_now=True).hold_ids
    world.pass_us(600 * SECOND)
    world.sweep()
    world.peek(ALL)
    assert world.void(hold) == 1
    assert world.remaining(*ALL) == WHOLE


def test_marks_are_dropped_by_the_clockwork_a_minute_later_and_by_admissions_only_when_it_is_away(world: World) -> None:
    marks = f"{{s{SHARD}}}:marks:{TENANT}"
    world.admit(ALL, 1, settle_now=True)
    world.pass_us(61 * SECOND)
    world.admit(ALL, 1, settle_now=True)
    assert world.client.zcard(marks) == 2
    world.sweep()
    assert world.sweep() == (0, 0)
    world.pass_us(10 * SECOND)
    assert world.sweep() == (0, 1)
    world.pass_us(661 * SECOND)
    world.admit([MONTH], 1, settle_now=True)
    assert world.client.zcard(marks) == 1


def test_a_settlement_that_comes_too_late_does_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    (hold,) = world.admit(ALL, 10).hold_ids
    before = world.snapshot()
    monkeypatch.setattr(admission.server_clock.OF_STATE, "deadline_us", lambda *, patience_s: world.now - 1)
    with pytest.raises(PlatformError) as caught:
        world.settle(hold)
    assert caught.value.kind is ErrorKind.UNAVAILABLE
    assert world.snapshot() == before
