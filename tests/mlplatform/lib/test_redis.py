"""Scripts survive a server that forgot them; the state client never tries twice."""

from pathlib import Path

import pytest

from mlplatform.lib import redis
from tests.support.redis_server import RedisServer


def test_a_script_runs_by_its_digest_and_by_its_text_after_a_flush(tmp_path: Path) -> None:
    path = tmp_path / "add.lua"
    path.write_text("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    script = redis.Script(path)
    client = redis.state()
    assert script.run(client, ["n"], [2]) == 2
    assert client.script_exists(script.sha) == [True]
    client.script_flush()
    assert script.run(client, ["n"], [3]) == 5
    assert script.run(client, ["n"], [1]) == 6


def test_a_failing_script_is_not_sent_twice(tmp_path: Path) -> None:
    path = tmp_path / "fail.lua"
    path.write_text("redis.call('INCR', KEYS[1]) return redis.error_reply('no luck')")
    with pytest.raises(redis.ResponseError, match="no luck"):
        redis.Script(path).run(redis.state(), ["n"], [])
    assert redis.state().get("n") == b"1"


def test_a_stopped_server_is_a_failure_and_a_started_one_answers_again(state_redis: RedisServer) -> None:
    client = redis.state()
    assert client.ping()
    state_redis.stop()
    with pytest.raises(redis.FAILURES):
        client.ping()
    state_redis.start()
    assert client.ping()


@pytest.mark.usefixtures("hasty_redis_clients")
def test_a_stalled_server_never_gets_a_command_twice(state_redis: RedisServer) -> None:
    client = redis.state()
    client.set("n", 0)
    state_redis.pause()
    try:
        with pytest.raises(redis.FAILURES):
            client.incr("n")
    finally:
        state_redis.resume()
    assert client.get("n") in {b"0", b"1"}


def test_replies_are_bytes() -> None:
    assert redis.as_bytes("ä") == "ä".encode()
    assert redis.as_bytes(b"x") == b"x"
