"""Where the Redis servers are: the operator's word, else the run of this DATA_DIR, never a default port."""

import json
from pathlib import Path

import pytest

from mlplatform.lib import redis_urls

PORTS = {"state": 40001, "cache": 40002}


def test_the_operators_word_comes_first(tmp_path: Path) -> None:
    _write(tmp_path, json.dumps(PORTS))
    found = redis_urls.find("redis://redis.example/3", variable="REDIS_URL", role="state", data_dir=tmp_path)
    assert (found.url, found.source) == ("redis://redis.example/3", "REDIS_URL")


def test_then_the_run_of_this_data_dir(tmp_path: Path) -> None:
    _write(tmp_path, json.dumps(PORTS))
    state = redis_urls.find("", variable="REDIS_URL", role="state", data_dir=tmp_path)
    cache = redis_urls.find("", variable="CACHE_REDIS_URL", role="cache", data_dir=tmp_path)
    assert (state.url, cache.url) == ("redis://127.0.0.1:40001/0", "redis://127.0.0.1:40002/0")
    assert state.source == cache.source == str(tmp_path / "run" / "ports.json")


def test_with_the_password_of_that_run(tmp_path: Path) -> None:
    _write(tmp_path, json.dumps(PORTS))
    redis_urls.password_file(tmp_path).write_text("se/cret@\n")
    state = redis_urls.find("", variable="REDIS_URL", role="state", data_dir=tmp_path)
    assert state.url == "redis://:se%2Fcret%40@127.0.0.1:40001/0"
    given = redis_urls.find("redis://redis.example/3", variable="REDIS_URL", role="state", data_dir=tmp_path)
    assert given.url == "redis://redis.example/3", "an operator's URL is used as it is"


@pytest.mark.parametrize(
    ("url", "is_open"),
    [
        ("redis://redis.example:6379/0", True),
        ("rediss://redis.example/0", True),
        ("redis://10.0.0.1/0", True),
        ("redis://user@10.0.0.1/0", True),
        ("redis://:secret@10.0.0.1/0", False),
        ("redis://user:secret@redis.example/0", False),
        ("redis://127.0.0.1:6379/0", False),
        ("redis://[::1]:6379/0", False),
        ("redis://localhost/0", False),
        ("unix:///run/redis.sock", False),
        ("amqp://rabbit.example", False),
    ],
)
def test_what_is_open_to_the_network(url: str, is_open: bool) -> None:
    assert redis_urls.is_open_to_the_network(url) is is_open


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"state": "6390"}', '{"state": true}', '{"state": 80}'])
def test_else_nowhere_rather_than_at_anothers_port(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        _write(tmp_path, text)
    state = redis_urls.find("", variable="REDIS_URL", role="state", data_dir=tmp_path)
    cache = redis_urls.find("", variable="CACHE_REDIS_URL", role="cache", data_dir=tmp_path)
    assert state.source == cache.source == ""
    assert (state.url, cache.url) == ("redis://127.0.0.1:1/0", "redis://127.0.0.1:2/0")


def _write(data_dir: Path, text: str) -> None:
    (data_dir / "run").mkdir()
    redis_urls.ports_file(data_dir).write_text(text)
