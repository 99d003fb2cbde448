"""Settled and answered, or neither: also on a server that comes to the pipeline too late."""

import pytest

from billing.admission import scripts
from billing.admission.server_clock import ServerClock
from inference.batching.messages import BatchReply, ItemMessage, decode_reply
from inference.worker import settlement
from mlplatform.lib import redis
from mlplatform.lib.redis_ahead import Ahead
from tests.support.redis_server import RedisServer

HOUR_US = 3_600 * 1_000_000


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> ServerClock:
    """An estimate of the server's clock that has learned nothing yet."""
    fresh = ServerClock()
    monkeypatch.setattr(settlement, "server_clock", fresh)
    return fresh


def server_us() -> int:
    seconds, micros = redis.state().time()
    return int(seconds) * 1_000_000 + int(micros)


def reply(batch_id: str = "b1") -> BatchReply:
    return BatchReply(batch_id=batch_id, worker="w", results=[b"1234", None])


def test_the_reply_waits_in_the_list_for_a_while(clock: ServerClock) -> None:
    assert settlement.settle_and_reply(reply_to="reply:test", reply=reply(), done=[])
    (body,) = redis.state().lrange("reply:test", 0, -1)
    assert decode_reply(redis.as_bytes(body)) == reply()
    assert 0 < redis.state().ttl("reply:test") <= 60
    assert clock.deadline_us(patience_s=0) > server_us() - HOUR_US


def test_an_estimate_that_is_behind_is_mended_by_the_second_try(clock: ServerClock) -> None:
    clock.learn(server_us() - HOUR_US)
    assert settlement.settle_and_reply(reply_to="reply:test", reply=reply(), done=[])
    assert redis.state().llen("reply:test") == 1


@pytest.mark.usefixtures("hasty_redis_clients")
def test_what_a_stalled_server_finds_when_it_wakes_is_not_pushed(state_redis: RedisServer) -> None:
    assert settlement.settle_and_reply(reply_to="reply:test", reply=reply("in time"), done=[])
    state_redis.pause()
    try:
        with pytest.raises(redis.FAILURES):
            settlement.settle_and_reply(reply_to="reply:test", reply=reply("late"), done=[])
    finally:
        state_redis.resume()
    redis.state().ping()
    with state_redis.client() as client:
        bodies = client.lrange("reply:test", 0, -1)
    assert [decode_reply(body).batch_id for body in bodies] == ["in time"]


def test_a_broken_connection_is_tried_once_more(state_redis: RedisServer) -> None:
    assert settlement.settle_and_reply(reply_to="reply:test", reply=reply("first"), done=[])
    with state_redis.client() as client:
        client.client_kill_filter(_type="normal", skipme=True)
    assert settlement.settle_and_reply(reply_to="reply:test", reply=reply("second"), done=[])
    bodies = redis.state().lrange("reply:test", 0, -1)
    assert [decode_reply(redis.as_bytes(body)).batch_id for body in bodies] == ["first", "second"]


def test_the_texts_of_the_scripts_are_sent_once() -> None:
    held = [
        ItemMessage(b"tx", b"", "hold-1", tenant_id=7, shard=3),
        ItemMessage(b"ty", b"", "hold-2", tenant_id=8, shard=3),
    ]
    assert settlement.settle_and_reply(reply_to="reply:test", reply=reply("first"), done=held)
    redis.state().config_resetstat()
    assert settlement.settle_and_reply(reply_to="reply:test", reply=reply("second"), done=held)
    stats = redis.state().info("commandstats")
    assert stats["cmdstat_evalsha"]["calls"] == 3
    assert not {"cmdstat_eval", "cmdstat_script|load"} & stats.keys()


def test_a_server_that_forgot_the_scripts_is_told_them_and_gets_one_reply() -> None:
    assert settlement.settle_and_reply(reply_to="reply:test", reply=reply("first"), done=[])
    redis.state().script_flush()
    assert settlement.settle_and_reply(reply_to="reply:test", reply=reply("second"), done=[])
    bodies = redis.state().lrange("reply:test", 0, -1)
    assert [decode_reply(redis.as_bytes(body)).batch_id for body in bodies] == ["first", "second"]


def test_a_server_that_knows_the_reply_of_another_release_pushes_none_before_this_one_settled(
    state_redis: RedisServer,
) -> None:
    """It knows ``reply.lua``, and not this settling; what would tell it the texts fails."""
    redis.state().script_flush()
    redis.state().script_load(settlement.REPLY.path.read_text())
    held = [ItemMessage(b"tx", b"", "hold-1", tenant_id=7, shard=3)]
    with state_redis.client() as client:
        client.execute_command("ACL", "SETUSER", "default", "-script|load")
        try:
            with pytest.raises(redis.FAILURES):
                settlement.settle_and_reply(reply_to="reply:test", reply=reply(), done=held)
        finally:
            client.execute_command("ACL", "SETUSER", "default", "+script|load")
        assert client.llen("reply:test") == 0


def test_an_input_without_a_hold_is_answered_and_settles_nothing(clock: ServerClock) -> None:
    unbilled = [ItemMessage(b"tx", b"", "", tenant_id=7, shard=3), ItemMessage(b"ty", b"", "", tenant_id=8, shard=3)]
    assert settlement.settle_and_reply(reply_to="reply:test", reply=reply(), done=unbilled)
    assert [redis.as_bytes(key) for key in redis.state().keys("*")] == [b"reply:test"], (
        "nothing but the reply is written"
    )


def test_a_server_that_learned_the_reply_from_a_batch_without_holds_settles_before_it_replies() -> None:
    """Where it knew the reply alone, the answer would be pushed in the first round trip and its charge settled in the second."""
    redis.state().script_flush()
    assert settlement.settle_and_reply(reply_to="reply:test", reply=reply("failed"), done=[])
    assert redis.state().script_exists(scripts.SETTLE.sha, settlement.REPLY.sha) == [True, True]


def ahead_of(reply_to: str, batch_id: str, items: list[ItemMessage]) -> settlement.Sent:
    sent = settlement.Settling.of(items).ahead(Ahead(redis.state()), reply_to=reply_to, reply=reply(batch_id))
    assert sent is not None
    return sent


def test_what_is_sent_ahead_is_what_the_pipeline_sends(clock: ServerClock) -> None:
    held = [
        ItemMessage(b"tx", b"", "hold-1", tenant_id=7, shard=3),
        ItemMessage(b"ty", b"", "", tenant_id=7, shard=3),
        ItemMessage(b"tz", b"", "hold-2", tenant_id=8, shard=3),
    ]
    assert settlement.settle_and_reply(reply_to="reply:test", reply=reply("first"), done=held)
    redis.state().config_resetstat()
    before = clock.deadline_us(patience_s=0)
    assert ahead_of("reply:test", "second", held).is_done()
    assert clock.deadline_us(patience_s=0) >= before
    assert redis.state().info("commandstats")["cmdstat_evalsha"]["calls"] == 3
    bodies = redis.state().lrange("reply:test", 0, -1)
    assert [decode_reply(redis.as_bytes(body)) for body in bodies] == [reply("first"), reply("second")]
    assert 0 < redis.state().ttl("reply:test") <= 60


def test_a_server_that_forgot_its_scripts_is_asked_once_more() -> None:
    redis.state().script_flush()
    assert not ahead_of("reply:test", "b1", []).is_done()
    assert redis.state().llen("reply:test") == 0
    assert settlement.settle_and_reply(reply_to="reply:test", reply=reply(), done=[], tries=settlement.ONCE_MORE)


def test_what_was_sent_ahead_and_came_too_late_is_not_done(clock: ServerClock) -> None:
    assert settlement.settle_and_reply(reply_to="reply:test", reply=reply("first"), done=[])
    clock.learn(server_us() - HOUR_US, anew=True)
    assert not ahead_of("reply:test", "late", []).is_done()
    assert redis.state().llen("reply:test") == 1
    assert settlement.settle_and_reply(reply_to="reply:test", reply=reply(), done=[], tries=settlement.ONCE_MORE), (
        "the server's clock was learned anew"
    )


@pytest.mark.usefixtures("hasty_redis_clients")
def test_what_was_sent_ahead_to_a_stalled_server_is_not_pushed_when_it_wakes(state_redis: RedisServer) -> None:
    assert settlement.settle_and_reply(reply_to="reply:test", reply=reply("in time"), done=[])
    ahead = Ahead(redis.state())
    state_redis.pause()
    try:
        sent = settlement.Settling.of([]).ahead(ahead, reply_to="reply:test", reply=reply("late"))
        assert sent is not None
        assert not sent.is_done()
    finally:
        state_redis.resume()
    redis.state().ping()
    assert redis.state().llen("reply:test") == 1
