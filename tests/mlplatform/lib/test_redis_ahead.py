"""What one thread sends, another hears of, in order; and when that fails, nothing of it is taken for something else."""

import pytest
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as TimedOut

from mlplatform.lib import redis
from mlplatform.lib.redis_ahead import Ahead
from mlplatform.lib.redis_link import packed
from tests.support.redis_server import RedisServer


@pytest.mark.usefixtures("state_redis")
def test_answers_come_in_the_order_of_the_commands_errors_among_them() -> None:
    ahead = Ahead(redis.state())
    assert ahead.send(packed("SET", "n", "1") + packed("LPUSH", "n", "x"))
    assert ahead.send(packed("INCR", "n"))
    done, error = ahead.receive(2)
    assert (done, type(error)) == (b"OK", ResponseError)
    assert ahead.receive(1) == [2]
    assert ahead.is_open
    ahead.close()
    assert not ahead.send(packed("PING"))


def test_a_connection_that_the_server_closed_is_let_go(state_redis: RedisServer) -> None:
    ahead = Ahead(redis.state())
    with state_redis.client() as client:
        client.client_kill_filter(_type="normal", skipme=True)
    if ahead.send(packed("PING")):
        with pytest.raises(Disconnected):
            ahead.receive(1)
    assert not ahead.is_open
    with pytest.raises(Disconnected):
        ahead.receive(1)


@pytest.mark.usefixtures("hasty_redis_clients")
def test_an_answer_that_comes_too_late_is_not_taken_for_the_next_one(state_redis: RedisServer) -> None:
    ahead = Ahead(redis.state())
    state_redis.pause()
    try:
        assert ahead.send(packed("ECHO", "late"))
        assert ahead.send(packed("ECHO", "next"))
        with pytest.raises(TimedOut):
            ahead.receive(1)
    finally:
        state_redis.resume()
    with pytest.raises(Disconnected):
        ahead.receive(1)
    assert not ahead.send(packed("PING"))


@pytest.mark.usefixtures("hasty_redis_clients")
def test_who_sends_does_not_wait_for_a_server_that_reads_nothing(state_redis: RedisServer) -> None:
    ahead = Ahead(redis.state())
    state_redis.pause()
    try:
        much = packed("ECHO", b"x" * 1_000_000)
        assert not all(ahead.send(much) for _ in range(50))
        assert not ahead.send(packed("PING")), "the rest of a command must come first"
    finally:
        state_redis.resume()
