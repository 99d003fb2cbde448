"""The throw-away Redis that other tests build on does what its docstring says, in both roles."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from mlplatform.run import redis_conf
from mlplatform.run.problems import LaunchError
from mlplatform.run.redis_conf import RedisRole
from tests.support.redis_server import RedisServer


def test_state_keeps_what_it_was_told_over_a_stop_and_a_start() -> None:
    with RedisServer(role=RedisRole.STATE) as server:
        client = server.client()
        client.set("kept", "yes")
        server.restart()
        assert client.get("kept") == b"yes"
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendfsync") == {"appendfsync": "everysec"}


def test_cache_evicts_and_forgets() -> None:
    with RedisServer(role="cache") as server:
        client = server.client()
        client.set("kept", "no")
        server.restart()
        assert client.get("kept") is None
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "allkeys-lru"}
        assert int(str(client.config_get("maxmemory")["maxmemory"])) == 256 * 1024 * 1024
        assert client.config_get("appendonly") == {"appendonly": "no"}


def test_the_size_of_the_cache_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHE_MAX_BYTES", str(2 * 1024 * 1024))
    with RedisServer(role="cache") as server:
        client = server.client()
        assert int(str(client.config_get("maxmemory")["maxmemory"])) == 2 * 1024 * 1024
        for number in range(40):
            client.set(f"key-{number}", b"x" * 100_000)
        assert 0 < client.dbsize() < 40, "the least recently used made room"
    with RedisServer(role="state") as server:
        assert int(str(server.client().config_get("maxmemory")["maxmemory"])) == 0


@pytest.mark.parametrize("value", ["much", "-1", "1024", "1e9"])
def test_a_size_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("CACHE_MAX_BYTES", value)
    with pytest.raises(LaunchError, match="CACHE_MAX_BYTES"):
        redis_conf.render(role=RedisRole.CACHE, port=1, directory=Path(), password="secret")


@pytest.mark.parametrize("role", list(RedisRole))
def test_both_roles_listen_on_loopback_only(role: RedisRole) -> None:
    with RedisServer(role=role) as server:
        assert server.client().config_get("bind") == {"bind": "127.0.0.1"}


@pytest.mark.parametrize("role", list(RedisRole))
@pytest.mark.parametrize("password", [None, "", "wrong"])
def test_both_roles_ask_for_the_password(role: RedisRole, password: str | None) -> None:
    with (
        RedisServer(role=role) as server,
        redis.Redis(port=server.port, password=password, retry=Retry(NoBackoff(), 0)) as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.set("key", "value")


def test_a_password_of_any_characters_is_read_as_it_was_written() -> None:
    server = RedisServer()
    server.password = 'a "quoted" one: \\n@/ #%20'
    with server:
        assert server.client().ping() is True
        with server.refusing(), pytest.raises(redis.AuthenticationError):
            server.client().ping()
        assert server.client().ping() is True


def test_a_killed_server_refuses_and_a_paused_one_hangs() -> None:
    with RedisServer() as server:
        client = server.client()
        assert client.ping() is True
        server.pause()
        with pytest.raises(redis.TimeoutError):
            server.client(socket_timeout=0.2).ping()
        server.resume()
        assert client.ping() is True
        server.kill()
        assert not server.running
        with pytest.raises(redis.ConnectionError):
            client.ping()
        server.start()
        assert client.ping() is True


def test_the_bundled_program_runs_lua_and_streams() -> None:
    with RedisServer(bundled=True) as server:
        client = server.client()
        assert client.eval("return redis.call('XADD', KEYS[1], '*', 'a', ARGV[1])", 1, "stream", "1")
        assert client.xlen("stream") == 1


def test_nothing_is_left_after_the_block() -> None:
    with RedisServer() as server:
        directory = server.directory
        assert directory.exists()
    assert not directory.exists()
    assert not server.running
