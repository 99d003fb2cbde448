"""Which workers are alive, and how much waits for them."""

import datetime as dt
import json

import pytest

from inference import workers
from inference.workers import Heartbeat
from mlplatform.lib import clock, redis

NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


def at(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOON + dt.timedelta(seconds=seconds))


def test_a_worker_is_alive_while_it_says_so_and_fades_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, 0)
    worker = Heartbeat(queue="gpu", device="cpu")
    worker.models, worker.batches = ["sentiment@1.0.0"], 7
    worker.start()
    at(monkeypatch, 5)
    (info,) = workers.alive()
    assert (info.queue, info.device, info.models, info.batches) == ("gpu", "cpu", ["sentiment@1.0.0"], 7)
    assert info.seen_s_ago == 5
    assert (workers.count("gpu"), workers.count("jobs")) == (1, 0)
    at(monkeypatch, 5.1)
    assert workers.alive() == []
    worker.beat()
    assert workers.count("gpu") == 1
    worker.end()
    assert workers.alive() == []


def test_what_faded_long_ago_or_cannot_be_read_is_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, 0)
    Heartbeat(queue="jobs", device="cpu").beat()
    redis.state().hset(workers._ALIVE, "old", json.dumps({"name": "old", "an": "older release"}))
    redis.state().hset(workers._ALIVE, "broken", b"\xff")
    assert [info.queue for info in workers.alive()] == ["jobs"]
    assert redis.state().hlen(workers._ALIVE) == 1
    at(monkeypatch, 3601)
    assert workers.alive() == []
    assert redis.state().hlen(workers._ALIVE) == 0


def test_queue_depths_are_those_of_the_broker() -> None:
    assert workers.queue_depths() == {"gpu": 0, "jobs": 0}
    redis.state().lpush("celery:gpu", b"1", b"2")
    assert workers.queue_depths() == {"gpu": 2, "jobs": 0}
