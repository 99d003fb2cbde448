"""Which workers are alive, and how much waits for them."""

import datetime as dt
import json

import pytest

from inference.fleet import broker, workers
from inference.fleet.broker import list_name
from inference.fleet.workers import Capacity, Heartbeat, LoadedModel
from mlplatform.lib import clock, redis

NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


def at(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOON + dt.timedelta(seconds=seconds))


def test_a_worker_is_alive_while_it_says_so_and_fades_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, 0)
    worker = Heartbeat(queue="gpu", device="cpu")
    worker.loaded = lambda: [LoadedModel("sentiment@1.0.0", size_bytes=7_000_000)]
    worker.note(0.1)
    worker.note(0.2)
    worker.start()
    at(monkeypatch, 5)
    (info,) = workers.alive()
    assert (info.queue, info.device, info.models, info.batches) == ("gpu", "cpu", ["sentiment@1.0.0"], 2)
    assert (round(info.batch_s, 6), info.memory_bytes, info.draining) == (0.12, 7_000_000, False)
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
    redis.state().hset(workers.ALIVE, "old", json.dumps({"name": "old", "an": "older release"}))
    redis.state().hset(workers.ALIVE, "broken", b"\xff")
    assert [info.queue for info in workers.alive()] == ["jobs"]
    assert redis.state().hlen(workers.ALIVE) == 1
    at(monkeypatch, 3601)
    assert workers.alive() == []
    assert redis.state().hlen(workers.ALIVE) == 0


def test_queue_depths_are_those_of_the_broker_with_all_priorities() -> None:
    assert workers.queue_depths() == {"gpu": 0, "jobs": 0}
    redis.state().lpush("celery:gpu", b"1", b"2")
    redis.state().lpush(list_name("large", 9), b"3")
    assert workers.queue_depths() == {"gpu": 2, "jobs": 0}
    assert workers.queue_depths(["large", "gpu"]) == {"large": 1, "gpu": 2}


def test_what_waits_is_counted_on_the_broker_also_where_that_is_another_redis(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    class Other:
        def pipeline(self, *, transaction: bool) -> "Other":
            return self

        def llen(self, name: str) -> None:
            asked.append(name)

        def execute(self) -> list[int]:
            return [7] * len(asked)

    redis.state().lpush("celery:gpu", b"1")
    monkeypatch.setattr(broker, "direct_client", Other)
    assert workers.capacity("gpu").waiting_batches == 7
    monkeypatch.setattr(broker, "direct_client", lambda: None)
    assert workers.capacity("gpu").waiting_batches == 0, "of a broker that is no Redis it is unknown"


def test_a_pool_can_do_what_its_workers_can_that_take_batches() -> None:
    assert workers.capacity("gpu") == Capacity(0, 0, 0.0)
    for name, pools, seconds in (("a", ["gpu"], 0.1), ("b", ["large", "gpu"], 0.3), ("c", ["large"], 0.9)):
        beat = Heartbeat(queue=pools[0], device="cpu", pools=pools, name=name)
        beat.note(seconds)
        beat.beat()
    Heartbeat(queue="gpu", device="cpu", name="new").beat()
    redis.state().lpush("celery:gpu", b"1")
    redis.state().lpush(list_name("gpu", 9), b"without a call that waits")
    assert workers.capacity("gpu") == Capacity(3, 1, 0.2)
    assert (workers.count("gpu"), workers.count("large"), workers.count("jobs")) == (3, 2, 0)


def test_a_drained_worker_is_no_capacity_until_the_order_is_taken_back_also_after_a_restart() -> None:
    worker = Heartbeat(queue="gpu", device="cpu", name="gpu-1@host")
    worker.beat()
    assert not worker.drained
    workers.drain(worker="gpu-1@host", by="ada@staff.example")
    worker.beat()
    worker.end()
    again = Heartbeat(queue="gpu", device="cpu", name="gpu-1@host")
    again.beat()
    again.beat()
    assert (again.drained, workers.alive()[0].draining) == (True, True)
    assert (workers.capacity("gpu").workers, workers.count("gpu")) == (0, 1)
    (order,) = workers.drain_orders()
    assert (order.worker, order.by) == ("gpu-1@host", "ada@staff.example")
    assert workers.undrain(worker="gpu-1@host")
    assert not workers.undrain(worker="gpu-1@host")
    again.beat()
    assert (again.drained, workers.drain_orders()) == (False, [])
