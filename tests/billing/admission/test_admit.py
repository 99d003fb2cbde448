"""One admission: who is asked, what is taken, what a retry does, what is lost and found again."""

import copy
import dataclasses

import pytest

from billing.admission import MAX_CHARGES, Charge, LimitKind, StaleCaller, Subject
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants import guards
from tests.billing.admission.world import DAY, SECOND, SHARD, TENANT, World, limit

BURST = limit(LimitKind.TOKEN_BUCKET, 100)
MONTH = limit(LimitKind.MONTHLY, 1000)
REQUESTS = limit(LimitKind.SLIDING_WINDOW, 5, counts="requests", id="key:key_prod:calls", scope="key")
RUNNING = limit(LimitKind.CONCURRENCY, 3, counts="requests")
LARGE = limit(LimitKind.FIXED_WINDOW, 20, id="model:large:minute", scope="model", subject="large")


def test_batch_is_taken_from_each_limit_by_what_it_counts_and_covers(world: World) -> None:
    decision = world.admit(
        [BURST, MONTH, REQUESTS, RUNNING, LARGE],
        world.charge(50, model="", requests=0),
        world.charge(1, model="sentiment"),
        world.charge(10, model="large"),
    )
    assert decision.granted
    assert [state.remaining for state in decision.states] == [39, 939, 3, 1, 10]
    assert len(world.holds()) == 3
    assert world.usage() == []


def test_one_limit_that_refuses_keeps_all_others_whole(world: World) -> None:
    limits = [BURST, MONTH, REQUESTS, RUNNING, LARGE]
    world.peek(limits)
    before = world.snapshot()
    decision = world.admit(limits, world.charge(1), world.charge(21, model="large"))
    assert not decision.granted
    assert [state.limit.id for state in decision.states if state.refused] == ["model:large:minute"]
    assert decision.hold_ids == ()
    assert world.snapshot() == before


def test_limit_that_nothing_applies_to_refuses_nothing_even_when_it_is_spent(world: World) -> None:
    assert world.admit([LARGE], world.charge(20, model="large")).granted
    assert world.admit([LARGE], world.charge(5, model="sentiment")).granted
    assert not world.admit([LARGE], world.charge(1, model="large")).granted


def test_no_limits_grant_and_no_charges_hold_nothing(world: World) -> None:
    assert world.admit([], 5).granted
    assert world.admit([BURST]).granted
    assert world.remaining(BURST) == [100]


def test_retry_answers_as_the_first_time_and_takes_nothing_again(world: World) -> None:
    charges = [world.charge(30), world.charge(12)]
    first = world.admit([BURST, RUNNING], *charges)
    before = world.snapshot()
    assert world.admit([BURST, RUNNING], *charges) == first
    assert world.snapshot() == before


def test_retry_is_recognised_even_if_the_limit_could_not_grant_it_now(world: World) -> None:
    charge = world.charge(100)
    assert world.admit([BURST], charge).granted
    assert world.admit([BURST], charge).granted
    assert world.remaining(BURST) == [0]


def test_retry_of_a_settled_hold_is_recognised_for_a_minute(world: World) -> None:
    charge = world.charge(10)
    world.admit([MONTH], charge)
    world.settle(charge.hold_id)
    world.pass_us(59 * SECOND)
    assert world.admit([MONTH], charge).granted
    assert world.remaining(MONTH) == [990]
    assert world.usage() == [(charge.hold_id, 10)]


def test_retry_of_a_released_hold_is_a_conflict_and_takes_nothing(world: World) -> None:
    charge = world.charge(10)
    world.admit([BURST], charge)
    world.release(charge.hold_id)
    before = world.snapshot()
    with pytest.raises(PlatformError) as caught:
        world.admit([BURST], charge)
    assert caught.value.kind is ErrorKind.CONFLICT
    assert world.snapshot() == before


def test_hold_id_in_another_call_is_a_conflict_and_takes_nothing(world: World) -> None:
    charge = world.charge(10)
    world.admit([BURST], charge)
    before = world.snapshot()
    with pytest.raises(PlatformError) as caught:
        world.admit([BURST], charge, 5)
    assert caught.value.kind is ErrorKind.CONFLICT
    assert world.snapshot() == before


def test_admission_overtaken_by_its_own_release_takes_nothing(world: World) -> None:
    charge = world.charge(10)
    world.release(charge.hold_id)
    with pytest.raises(PlatformError):
        world.admit([BURST], charge)
    assert world.remaining(BURST) == [100]


def test_settle_now_meters_in_the_same_step_and_takes_no_concurrency(world: World) -> None:
    charges = [world.charge(1), world.charge(2)]
    decision = world.admit([BURST, RUNNING], *charges, settle_now=True)
    assert [state.remaining for state in decision.states] == [97, 3]
    assert world.usage() == [(charges[0].hold_id, 1), (charges[1].hold_id, 2)]
    assert world.holds() == set()
    assert world.stream()[0][1] == {
        b"id": charges[0].hold_id.encode(),
        b"at": str(world.now).encode(),
        b"units": b"1",
        b"record": charges[0].record,
    }


def test_settle_now_passes_while_all_slots_are_taken(world: World) -> None:
    world.admit([RUNNING], 1, 1, 1)
    assert not world.admit([RUNNING], 1).granted
    assert world.admit([RUNNING], 1, settle_now=True).granted


def test_retry_of_settle_now_is_metered_once(world: World) -> None:
    charge = world.charge(5)
    first = world.admit([BURST], charge, settle_now=True)
    assert world.admit([BURST], charge, settle_now=True) == first
    assert world.settle(charge.hold_id) == (2,)
    assert world.usage() == [(charge.hold_id, 5)]
    assert world.remaining(BURST) == [95]


def test_refused_settle_now_meters_nothing(world: World) -> None:
    assert not world.admit([BURST], 101, settle_now=True).granted
    assert world.usage() == []


@pytest.mark.parametrize("guard", [guards.key_guard(SHARD, "key_prod"), guards.tenant_guard(SHARD, TENANT)])
def test_newer_guard_stops_the_caller_and_takes_nothing(world: World, guard: str) -> None:
    world.admit([BURST], 1)
    before = world.snapshot()
    world.client.set(guard, 2)
    with pytest.raises(StaleCaller):
        world.admit([BURST], 1)
    with pytest.raises(StaleCaller):
        world.peek([BURST])
    assert world.snapshot() == before
    fresh = dataclasses.replace(world.subject, tenant_version=2, key_version=2)
    assert world.admit([BURST], 1, subject=fresh).granted


def test_missing_and_older_guards_are_set_from_the_caller(world: World) -> None:
    key, tenant = guards.key_guard(SHARD, "key_prod"), guards.tenant_guard(SHARD, TENANT)
    world.client.set(tenant, 4)
    newer = Subject(tenant_id=TENANT, shard=SHARD, key_id="key_prod", tenant_version=5, key_version=3)
    world.admit([BURST], 1, subject=newer)
    assert world.client.mget(key, tenant) == [b"3", b"5"]
    with pytest.raises(StaleCaller):
        world.admit([BURST], 1)


def test_expired_holds_give_back_what_they_took(world: World) -> None:
    limits = [BURST, MONTH, RUNNING, LARGE]
    world.admit(limits, world.charge(15, model="large"), ttl_s=2.0)
    world.pass_us(2 * SECOND - 1)
    assert world.remaining(*limits) == [100, 985, 2, 5]
    world.pass_us(1)
    assert world.remaining(*limits) == [100, 1000, 3, 20]
    assert world.holds() == set()


def test_sweep_is_bounded_and_goes_on_in_the_next_calls(world: World) -> None:
    many = limit(LimitKind.MONTHLY, 1000)
    world.admit([many], *[1] * 200, ttl_s=1.0)
    world.pass_us(SECOND)
    assert [state.remaining for state in world.admit([many], 0).states] == [866]
    for _ in range(3):
        world.admit([many], 0)
    assert world.remaining(many) == [1000]
    world.pass_us(31 * SECOND)
    world.peek([many])
    assert world.client.zcard(f"{{s{SHARD}}}:expiry:{TENANT}") == 0


def test_a_look_at_the_limits_counts_no_hold_that_has_ended(world: World) -> None:
    world.admit([RUNNING, MONTH], *[1] * 3, ttl_s=1.0)
    many = limit(LimitKind.MONTHLY, 5000, id="tenant:many")
    world.admit([many], *[1] * 900, ttl_s=1.0)
    world.pass_us(SECOND)
    assert world.remaining(RUNNING, MONTH, many) == [3, 1000, 5000]


def test_window_that_has_passed_takes_nothing_back(world: World) -> None:
    minute = limit(LimitKind.FIXED_WINDOW, 100)
    decision = world.admit([minute], 60, ttl_s=600.0)
    world.pass_us(60 * SECOND)
    world.admit([minute], 10, ttl_s=600.0)
    world.release(*decision.hold_ids)
    assert world.remaining(minute) == [90]


def test_hold_of_a_clock_that_was_ahead_does_not_last_for_ever(world: World) -> None:
    world.at(world.now + 3650 * DAY)
    world.admit([RUNNING], 1, 1, 1)
    world.pass_us(-3650 * DAY)
    assert not world.admit([RUNNING], 1).granted
    world.pass_us(61 * SECOND)
    assert world.admit([RUNNING], 1).granted


def test_lost_month_is_rebuilt_from_the_ledger_before_anything_is_taken(world: World) -> None:
    world.used = 990
    assert not world.admit([BURST, MONTH], 11).granted
    assert world.remaining(BURST, MONTH) == [100, 10]
    assert world.admit([BURST, MONTH], 10).granted
    assert world.ledger_reads == 1
    world.client.flushall()
    world.at(world.now)
    world.used = 1000
    assert not world.admit([BURST, MONTH], 1).granted
    assert world.ledger_reads == 2


def test_month_is_not_rebuilt_when_a_new_one_begins(world: World) -> None:
    world.used = 1000
    assert not world.admit([MONTH], 1).granted
    world.pass_us(17 * DAY)
    assert world.admit([MONTH], 1000).granted
    assert world.ledger_reads == 1


def test_rebuilding_does_not_overwrite_what_was_counted_meanwhile(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    faster = copy.copy(world)
    faster.used = 100

    def raced(*_: object) -> int:
        # Another process rebuilds and admits between our two steps.
        assert faster.admit([MONTH], 200).granted
        return 100

    monkeypatch.setattr(world, "month_to_date", raced)
    assert world.admit([MONTH], 7).granted
    assert world.remaining(MONTH) == [693]


@pytest.mark.parametrize(
    "charges",
    [
        [Charge("same", "", 1, 1, b""), Charge("same", "", 1, 1, b"")],
        [Charge(str(number), "", 1, 1, b"") for number in range(MAX_CHARGES + 1)],
    ],
    ids=["one id twice", "too many"],
)
def test_impossible_calls_are_refused_before_they_are_sent(world: World, charges: list[Charge]) -> None:
    with pytest.raises(ValueError, match="hold id"):
        world.admit([BURST], *charges)
    assert world.holds() == set()


def test_limits_that_share_a_state_are_refused_before_they_are_sent(world: World) -> None:
    with pytest.raises(ValueError, match="share"):
        world.admit([BURST, dataclasses.replace(BURST, amount=5)], 1)


@pytest.mark.parametrize("ttl_s", [0.0, -1.0, 86_401.0])
def test_hold_lives_at_most_a_day(world: World, ttl_s: float) -> None:
    with pytest.raises(ValueError, match="day"):
        world.admit([BURST], 1, ttl_s=ttl_s)


@pytest.mark.parametrize("fields", [{"units": -1}, {"requests": -1}, {"hold_id": ""}])
def test_charge_cannot_be_negative_or_nameless(fields: dict[str, int | str]) -> None:
    valid = Charge("id", "", 1, 1, b"")
    with pytest.raises(ValueError, match="charge"):
        dataclasses.replace(valid, **fields)  # type: ignore[arg-type]


def test_largest_call_is_admitted_and_settled_whole(world: World) -> None:
    month = limit(LimitKind.MONTHLY, 1_000_000)
    decision = world.admit([month, BURST], *[0] * (MAX_CHARGES - 1), 3)
    assert decision.granted
    assert set(world.settle(*decision.hold_ids)) == {1}
    assert len(world.usage()) == MAX_CHARGES


@pytest.mark.parametrize("size", [0, 1, 31, 32, 255, 256, 65_535, 65_536])
def test_record_arrives_byte_for_byte(world: World, size: int) -> None:
    record = bytes(number * 7 % 256 for number in range(size))
    charge = dataclasses.replace(world.charge(1), record=record)
    world.admit([BURST], charge)
    world.settle(charge.hold_id)
    assert world.stream()[0][1][b"record"] == record
