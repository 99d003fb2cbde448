"""Refusals are kept for a day, at most 10,000 a tenant, and told again in full."""

import datetime as dt
import math
import time

import msgspec

from billing import admission
from billing.admission import LimitKind
from mlplatform.lib.redis import as_bytes
from tests.billing.admission.world import DAY, SECOND, SHARD, TENANT, World, limit

BURST = limit(LimitKind.TOKEN_BUCKET, 100, source="plan Pro", name="burst")
MINUTE = limit(
    LimitKind.FIXED_WINDOW, 5, counts="requests", id="key:key_prod:minute", scope="key", source="key Production"
)


def today(world: World) -> int:
    """Start the walked clock at the present, because a refusal is told for 24 hours of the real one."""
    now = time.time_ns() // 1000
    world.start_over(now)
    return now


def test_refusal_tells_when_which_who_and_how_long(world: World) -> None:
    now = today(world)
    world.admit([BURST, MINUTE], 70)
    decision = world.admit([BURST, MINUTE], 50, request_id="req-42")
    refusal = world.explain("req-42")
    assert refusal is not None
    assert refusal.at == dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=now)
    assert refusal.wait_s == decision.wait_s == 2.0
    assert refusal.would_pass_at == refusal.at + dt.timedelta(seconds=2)
    burst, minute = refusal.limits
    assert (burst.refused, minute.refused) == (True, False)
    assert (burst.id, burst.name, burst.kind, burst.source) == (
        "tenant:token_bucket",
        "burst",
        LimitKind.TOKEN_BUCKET,
        "plan Pro",
    )
    assert (burst.amount, burst.rate, burst.asked, burst.remaining, burst.wait_s, burst.reset_s) == (
        100,
        10.0,
        50,
        30,
        2.0,
        7.0,
    )
    assert (minute.source, minute.scope, minute.counts, minute.window_s) == ("key Production", "key", "requests", 60)
    assert (minute.asked, minute.remaining, minute.wait_s) == (1, 4, 0.0)


def test_refusal_that_can_never_pass_says_so(world: World) -> None:
    today(world)
    world.admit([BURST], 101, request_id="req-1")
    refusal = world.explain("req-1")
    assert refusal is not None
    assert refusal.wait_s == math.inf
    assert refusal.would_pass_at is None


def test_granted_and_unknown_and_foreign_calls_have_no_refusal(world: World) -> None:
    today(world)
    world.admit([BURST], 1, request_id="req-1")
    world.client.hset(f"{{s{SHARD}}}:refused:{TENANT + 1}", "req-2", b"of somebody else")
    assert world.explain("req-1") is None
    assert world.explain("req-2") is None
    assert world.explain("req-3") is None


def test_refusal_is_forgotten_after_a_day(world: World) -> None:
    now = today(world)
    world.at(now - DAY - SECOND)
    world.admit([BURST], 101, request_id="old")
    world.at(now - DAY + 600 * SECOND)
    world.admit([BURST], 101, request_id="young")
    assert world.explain("old") is None
    assert world.explain("young") is not None
    world.at(now)
    world.admit([BURST], 101, request_id="new")
    kept = world.client.hkeys(f"{{s{SHARD}}}:refused:{TENANT}")
    assert set(kept) == {b"young", b"new"}
    assert 0 < world.client.ttl(f"{{s{SHARD}}}:refused:{TENANT}") <= 86_400


def test_one_request_refused_twice_is_kept_once_as_it_was_last(world: World) -> None:
    today(world)
    world.admit([BURST], 101, request_id="again")
    world.pass_us(SECOND)
    world.admit([BURST], 102, request_id="again")
    refusal = world.explain("again")
    assert refusal is not None
    assert refusal.limits[0].asked == 102
    assert world.client.zcard(f"{{s{SHARD}}}:refused-order:{TENANT}") == 1


def test_ten_thousand_refusals_are_kept_and_the_oldest_go_first(world: World) -> None:
    now = today(world)
    hash_name, order_name = f"{{s{SHARD}}}:refused:{TENANT}", f"{{s{SHARD}}}:refused-order:{TENANT}"
    for numbers in (range(start, start + 1_000) for start in range(0, 10_000, 1_000)):
        world.client.hset(hash_name, mapping={f"old-{number:05d}": b"" for number in numbers})
        world.client.zadd(order_name, {f"old-{number:05d}": now - DAY // 2 + number for number in numbers})
    for number in range(3):
        world.admit([BURST], 101, request_id=f"new-{number}")
    assert world.client.hlen(hash_name) == 10_000
    assert world.client.zcard(order_name) == 10_000
    assert world.client.hmget(hash_name, "old-00002", "old-00003") == [None, b""]
    assert world.explain("new-0") is not None
    assert world.explain("new-2") is not None


def test_a_refusal_names_its_key_and_the_models_of_its_call(world: World) -> None:
    today(world)
    world.admit([BURST], 101, request_id="new")
    refusal = world.explain("new")
    assert refusal is not None
    assert refusal.key_id
    packed = world.client.hget(f"{{s{SHARD}}}:refused:{TENANT}", "new")
    head, *rest = msgspec.msgpack.decode(as_bytes(packed or b""))
    world.client.hset(f"{{s{SHARD}}}:refused:{TENANT}", "old", msgspec.msgpack.encode([head, *rest[:3]]))
    kept_before = world.explain("old")
    assert kept_before is not None
    assert (kept_before.key_id, kept_before.models) == ("", ())
    assert kept_before.limits == refusal.limits


def test_the_newest_refusals_come_first_and_are_counted_for_a_day(world: World) -> None:
    now = today(world)
    for ago, name in ((DAY + SECOND, "gone"), (600 * SECOND, "first"), (0, "second")):
        world.at(now - ago)
        world.admit([BURST], 101, request_id=name)
    found = admission.recent(shard=SHARD, tenant_id=TENANT, newest=1, client=world.client)
    assert (found.count, [one.request_id for one in found.newest]) == (2, ["second"])
    everything = admission.recent(shard=SHARD, tenant_id=TENANT, newest=10, client=world.client)
    assert [one.request_id for one in everything.newest] == ["second", "first"]
    assert (
        admission.recent(shard=SHARD, tenant_id=TENANT, newest=10, key_id="key_other", client=world.client).count == 0
    )
