"""Settling and releasing: once, in any order, alone and in a pipeline."""

from pathlib import Path

import pytest

from billing import admission
from billing.admission import LimitKind, Settled, Settlement, connection, scripts
from mlplatform.lib.redis import Script
from tests.billing.admission.world import SECOND, SHARD, START, TENANT, World, limit

BURST = limit(LimitKind.TOKEN_BUCKET, 100)
MINUTE = limit(LimitKind.SLIDING_WINDOW, 100)
MONTH = limit(LimitKind.MONTHLY, 1000)
REQUESTS = limit(LimitKind.FIXED_WINDOW, 10, counts="requests")
RUNNING = limit(LimitKind.CONCURRENCY, 3, counts="requests")
ALL = (BURST, MINUTE, MONTH, REQUESTS, RUNNING)
PUSH = "return redis.call('RPUSH', KEYS[1], ARGV[1])"


def test_settling_meters_once_and_frees_the_slot(world: World) -> None:
    (hold,) = world.admit(ALL, 40).hold_ids
    assert world.settle(hold) == (Settled.NOW,)
    assert world.settle(hold) == (Settled.BEFORE,)
    assert world.usage() == [(hold, 40)]
    assert world.remaining(*ALL) == [60, 60, 960, 9, 3]


def test_usage_record_carries_the_moment_of_settling(world: World) -> None:
    (hold,) = world.admit(ALL, 40).hold_ids
    world.pass_us(3 * SECOND + 7)
    world.settle(hold)
    [(_, fields)] = world.stream()
    assert fields == {
        b"id": hold.encode(),
        b"at": str(world.now).encode(),
        b"units": b"40",
        b"record": b"\xff\x00record",
    }


@pytest.mark.parametrize(("used", "charged"), [(0, 0), (15, 15), (40, 40), (41, 40), (10**9, 40)])
def test_units_that_were_not_used_go_back_and_no_more_than_held_are_charged(
    world: World, used: int, charged: int
) -> None:
    (hold,) = world.admit(ALL, 40).hold_ids
    assert world.settle(Settlement(hold, used)) == (Settled.NOW,)
    assert world.usage() == [(hold, charged)]
    assert world.remaining(*ALL) == [100 - charged, 100 - charged, 1000 - charged, 9, 3]


def test_negative_use_is_refused(world: World) -> None:
    (hold,) = world.admit(ALL, 40).hold_ids
    with pytest.raises(ValueError, match="fewer"):
        world.settle(Settlement(hold, -1))
    assert world.holds() == {hold}


def test_release_gives_everything_back_once(world: World) -> None:
    holds = world.admit(ALL, 40, 10).hold_ids
    assert world.release(*holds) == 2
    assert world.remaining(*ALL) == [100, 100, 1000, 10, 3]
    assert world.release(*holds) == 2, "a repetition, whose first answer may have been lost, is told the same"
    assert world.remaining(*ALL) == [100, 100, 1000, 10, 3]
    assert world.usage() == []


def test_released_hold_is_never_charged(world: World) -> None:
    (hold,) = world.admit(ALL, 40).hold_ids
    world.release(hold)
    assert world.settle(hold) == (Settled.GONE,)
    assert world.usage() == []


def test_settled_hold_is_not_given_back_by_a_late_release(world: World) -> None:
    (hold,) = world.admit(ALL, 40).hold_ids
    world.settle(hold)
    assert world.release(hold) == 0
    assert world.remaining(MONTH) == [960]


@pytest.mark.parametrize("swept", [True, False])
def test_expired_hold_is_never_charged_whether_swept_or_not(world: World, swept: bool) -> None:
    (hold,) = world.admit(ALL, 40, ttl_s=5.0).hold_ids
    world.pass_us(5 * SECOND)
    if swept:
        world.peek(ALL)
    assert world.settle(hold) == (Settled.GONE,)
    assert world.usage() == []
    assert world.remaining(MONTH, RUNNING) == [1000, 3]


def test_mark_is_forgotten_but_a_late_settle_still_charges_nothing_twice(world: World) -> None:
    (hold,) = world.admit(ALL, 40).hold_ids
    world.settle(hold)
    world.pass_us(61 * SECOND)
    world.sweep()
    world.pass_us(10 * SECOND)
    world.sweep()
    assert world.settle(hold) == (Settled.GONE,)
    assert world.usage() == [(hold, 40)]


def test_unknown_holds_are_gone(world: World) -> None:
    assert world.settle("nobody", "nothing") == (Settled.GONE, Settled.GONE)
    assert world.settle() == ()
    assert world.release() == 0


def test_bucket_given_back_to_is_never_fuller_than_full(world: World) -> None:
    (hold,) = world.admit([BURST], 40).hold_ids
    world.pass_us(4 * SECOND)
    world.release(hold)
    assert world.remaining(BURST) == [100]
    assert not world.admit([BURST], 101).granted


def test_sliding_window_takes_back_into_the_slice_it_came_from(world: World) -> None:
    (first,) = world.admit([MINUTE], 60, ttl_s=600.0).hold_ids
    world.pass_us(30 * SECOND)
    world.admit([MINUTE], 40, ttl_s=600.0)
    world.release(first)
    assert world.remaining(MINUTE) == [60]
    world.pass_us(62 * SECOND)
    assert world.remaining(MINUTE) == [100]


def script(path: Path, text: str) -> Script:
    path.write_text(text)
    return Script(path)


def test_pipeline_settles_many_tenants_on_a_server_that_has_forgotten_its_scripts(world: World, tmp_path: Path) -> None:
    mine = world.admit(ALL, 10, 20).hold_ids
    world.client.script_flush()
    pipe = connection.Pipeline(world.client)
    first = admission.settle_commands(
        pipe, shard=SHARD, tenant_id=TENANT, holds=[Settlement(mine[0]), Settlement(mine[1], 5)]
    )
    other = admission.settle_commands(pipe, shard=SHARD, tenant_id=TENANT + 1, holds=[Settlement("nobody")])
    pipe.run(script(tmp_path / "push.lua", PUSH), ("replies",), ("done",))
    replies = pipe.execute()
    assert (first, other) == (1, 1)
    assert admission.parse_settled(replies[0]) == (Settled.NOW, Settled.NOW)
    assert admission.parse_settled(replies[1]) == (Settled.GONE,)
    assert world.usage() == [(mine[0], 10), (mine[1], 5)]
    assert world.client.llen("replies") == 1


def test_pipeline_repeats_only_the_runs_whose_script_the_server_does_not_know(world: World, tmp_path: Path) -> None:
    (hold,) = world.admit(ALL, 10).hold_ids
    push, unknown = script(tmp_path / "push.lua", PUSH), script(tmp_path / "seven.lua", "return 7")
    push.run(world.client, ["replies"], ["first"])
    pipe = connection.Pipeline(world.client)
    pipe.run(push, ("replies",), ("second",))
    pipe.run(unknown, (), ())
    admission.settle_commands(pipe, shard=SHARD, tenant_id=TENANT, holds=[Settlement(hold)])
    second, seven, settled = pipe.execute()
    assert (second, seven, admission.parse_settled(settled)) == (2, 7, (Settled.NOW,))
    assert world.client.lrange("replies", 0, -1) == [b"first", b"second"]


def test_more_holds_than_one_script_takes_are_settled_in_several(world: World) -> None:
    ids = [world.fresh_id() for _ in range(2500)]
    pipe = connection.Pipeline(world.client)
    count = admission.settle_commands(pipe, shard=SHARD, tenant_id=TENANT, holds=[Settlement(name) for name in ids])
    assert count == 3
    assert sum(len(admission.parse_settled(reply)) for reply in pipe.execute()) == 2500
    assert len(world.settle(*ids)) == 2500


def test_scripts_that_end_holds_run_when_memory_is_full() -> None:
    assert scripts.SETTLE.source.startswith("#!lua flags=allow-oom\n")
    assert scripts.RELEASE.source.startswith("#!lua flags=allow-oom\n")
    assert scripts.ADMIT.source.startswith("#!lua\n")


def test_a_settlement_that_the_server_comes_to_too_late_does_nothing_and_can_be_repeated(world: World) -> None:
    (hold,) = world.admit(ALL, 10).hold_ids
    before = world.snapshot()

    def settle(deadline_us: int) -> tuple[Settled, ...]:
        pipe = connection.Pipeline(world.client)
        holds = [Settlement(hold)]
        admission.settle_commands(pipe, shard=SHARD, tenant_id=TENANT, holds=holds, deadline_us=deadline_us)
        return admission.parse_settled(pipe.execute()[0])

    assert settle(START - 1) == (Settled.LATE,)
    assert world.snapshot() == before
    assert settle(START) == (Settled.NOW,)
    assert world.usage() == [(hold, 10)]
