"""Holds and marks of tenants that call no more, and how long everything lives that admission writes."""

import pytest

from billing import admission
from billing.admission import LimitKind, Settled, keys, sweeping
from tests.billing.admission.world import DAY, SECOND, SHARD, TENANT, World, limit

MONTH = limit(LimitKind.MONTHLY, 5000)
BURST = limit(LimitKind.TOKEN_BUCKET, 100)
RUNNING = limit(LimitKind.CONCURRENCY, 20, counts="requests")
LIMITS_KEY, EXPIRY_KEY, MARKS_KEY = (f"{{s{SHARD}}}:{what}:{TENANT}" for what in ("limits", "expiry", "marks"))
LASTING = {f"{{s{SHARD}}}:usage", f"{{s{SHARD}}}:test-clock"}
"""What lives until it is taken away: usage records until they are in the ledger; and the clock of these tests."""


def test_holds_of_a_process_that_died_end_without_any_call(world: World) -> None:
    world.admit([MONTH, RUNNING], *[24] * 20, ttl_s=45.0)
    world.pass_us(45 * SECOND - 1)
    assert world.sweep() == (0, 0)
    world.pass_us(1)
    assert world.sweep() == (20, 0)
    assert world.holds() == set()
    assert not world.client.exists(EXPIRY_KEY)
    assert world.remaining(MONTH, RUNNING) == [5000, 20]


def test_nothing_is_left_of_an_idle_tenant_but_the_state_of_its_limits(world: World) -> None:
    (settled,) = world.admit([MONTH, RUNNING], 5).hold_ids
    world.settle(settled)
    world.admit([MONTH], 7, settle_now=True)
    world.release(*world.admit([MONTH, RUNNING], 9).hold_ids)
    world.pass_us(61 * SECOND)
    world.sweep()
    world.pass_us(10 * SECOND)
    assert world.sweep() == (0, 3)
    fields = world.client.hkeys(LIMITS_KEY)
    assert sorted(fields) == [b"tenant:concurrency", b"tenant:monthly"]
    assert not world.client.exists(EXPIRY_KEY, MARKS_KEY)
    assert world.remaining(MONTH, RUNNING) == [4988, 20]


def test_every_tenant_of_every_shard_is_looked_at_and_other_keys_are_left_alone(world: World) -> None:
    world.client.zadd("{s1}:expiry:old", {"x": 1})
    world.client.zadd("{s1}:other:5", {"x": 1})
    for shard, tenant_id in ((0, 1), (63, 2), (63, 3)):
        limits, expiry, _, marks = keys.of_tenant(shard, tenant_id)
        world.client.hset(limits, mapping={"+a": "r", "+b": "s"})
        world.client.zadd(marks, {"+a": 1})
        world.client.zadd(expiry, {"+b": 1})  # as older releases kept marks
    world.sweep()
    world.pass_us(10 * SECOND)
    assert world.sweep() == (0, 3)
    assert sorted(world.client.scan_iter("*:*:*")) == [b"{s1}:expiry:old", b"{s1}:other:5"]


def test_one_run_of_the_script_is_bounded_and_a_look_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.admit([MONTH], *[1] * 600, ttl_s=1.0)
    world.pass_us(SECOND)
    monkeypatch.setattr(sweeping, "RUNS_A_LOOK", 2)
    assert world.sweep() == (500, 0)
    assert world.sweep() == (100, 0)
    assert world.remaining(MONTH) == [5000]


def test_a_hold_that_lives_is_left_alone(world: World) -> None:
    (hold,) = world.admit([MONTH, RUNNING], 5, ttl_s=45.0).hold_ids
    world.sweep()
    assert world.settle(hold) == (Settled.NOW,)


def test_every_key_that_admission_writes_ends_by_itself(world: World) -> None:
    def lasting() -> set[str]:
        names = [name.decode() for name in world.client.scan_iter("*")]
        return {name for name in names if world.client.ttl(name) == -1}

    limits = (MONTH, BURST, RUNNING)
    world.release("never-admitted")
    assert lasting() <= LASTING
    world.start_over()
    world.peek(limits)  # a rebuilt counter is the first thing that is written
    assert lasting() <= LASTING
    first, second = world.admit(limits, 5, 5).hold_ids
    assert lasting() <= LASTING
    world.settle(first)
    world.void(second)
    world.admit(limits, 5, settle_now=True)
    world.admit(limits, 101)
    world.sweep()
    assert lasting() <= LASTING
    assert len(list(world.client.scan_iter("{s3}*"))) == 8


def test_the_state_lives_as_long_as_its_longest_limit_and_is_renewed_by_writes(world: World) -> None:
    year = limit(LimitKind.SLIDING_WINDOW, 100, window_s=365 * 86_400)
    world.admit([MONTH], 1, settle_now=True)
    month_s = world.client.ttl(LIMITS_KEY)
    assert 31 * 86_400 < month_s <= 32 * 86_400
    world.admit([MONTH, year], 1, settle_now=True)
    assert world.client.ttl(LIMITS_KEY) > 2 * 365 * 86_400
    world.admit([MONTH], 1, settle_now=True)
    assert world.client.ttl(LIMITS_KEY) > 2 * 365 * 86_400, "a key with shorter limits does not shorten it"
    for key in (LIMITS_KEY, MARKS_KEY):
        world.client.expire(key, 86_400)
    world.admit([MONTH], 1, settle_now=True)
    assert world.client.ttl(LIMITS_KEY) > 31 * 86_400
    assert world.client.ttl(MARKS_KEY) > 31 * 86_400


def test_a_state_without_an_end_gets_one_from_the_clockwork(world: World) -> None:
    """Older releases wrote it so."""
    world.admit([MONTH], 1)
    for key in (LIMITS_KEY, EXPIRY_KEY):
        world.client.persist(key)
    world.sweep()
    assert 0 < world.client.ttl(LIMITS_KEY) <= 32 * 86_400
    assert 0 < world.client.ttl(EXPIRY_KEY) <= 32 * 86_400


def test_a_month_whose_counter_ended_is_read_from_the_ledger(world: World) -> None:
    world.admit([MONTH], 100, settle_now=True)
    world.pass_us(DAY)
    world.client.delete(LIMITS_KEY)
    world.used = 100
    assert world.remaining(MONTH) == [4900]


def test_the_clockwork_calls_it() -> None:
    from billing.tasks import sweep_holds

    assert admission.sweep() == sweep_holds() == (0, 0)
