"""What the proxy calls a round trip, on a real Redis."""

from collections.abc import Iterator

import pytest
import redis

from bench import counting_proxy
from bench.counting_proxy import CountingProxy
from tests.support.redis_server import RedisServer


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer(role="cache") as running:
        yield running


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[CountingProxy]:
    with counting_proxy.before(server.port) as running:
        yield running


@pytest.fixture
def connected(server: RedisServer, proxy: CountingProxy) -> Iterator[redis.Redis]:
    """A client that has spoken already, so that connecting is not counted with what a test does."""
    with redis.Redis(port=proxy.port, password=server.password) as client:
        client.ping()
        yield client


def test_each_command_that_is_waited_for_is_a_round_trip(proxy: CountingProxy, connected: redis.Redis) -> None:
    before = proxy.round_trips
    connected.set("a", "1")
    assert connected.get("a") == b"1"
    assert proxy.round_trips == before + 2
    assert (proxy.commands["SET"], proxy.commands["GET"]) == (1, 1)


def test_a_pipeline_is_one_round_trip(proxy: CountingProxy, connected: redis.Redis) -> None:
    before = proxy.round_trips
    pipe = connected.pipeline(transaction=False)
    for number in range(50):
        pipe.set(f"key {number}", number)
    assert len(pipe.execute()) == 50
    assert proxy.round_trips == before + 1


def test_a_large_value_is_one_round_trip_and_arrives_unchanged(proxy: CountingProxy, connected: redis.Redis) -> None:
    before = proxy.round_trips
    value = bytes(range(256)) * 8192
    connected.set("large", value)
    assert connected.get("large") == value
    assert proxy.round_trips == before + 2
