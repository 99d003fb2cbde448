"""``/livez`` and ``/readyz``, each dependency away in turn."""

import pytest

from inference.fleet import workers
from inference.fleet.workers import Heartbeat
from tests.conftest import Customer
from tests.support.redis_server import RedisServer
from tests.support.rest import Api


@pytest.fixture
def worker() -> Heartbeat:
    """A GPU worker that has just given a sign of life."""
    heartbeat = Heartbeat(queue="gpu", device="cpu")
    heartbeat.beat()
    return heartbeat


def test_livez_asks_no_other_process(state_redis: RedisServer, cache_redis: RedisServer) -> None:
    state_redis.stop()
    cache_redis.stop()
    answer = Api().get("/livez")
    assert (answer.status, answer.body) == (200, {"status": "ok"})


def test_ready_when_everything_is_there(db: None, worker: Heartbeat) -> None:
    answer = Api().get("/readyz")
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.body == {
        "status": "ok",
        "checks": {"sql": "ok", "redis-state": "ok", "gpu-worker": "ok", "redis-cache": "ok"},
    }


def test_not_ready_without_a_worker(db: None) -> None:
    answer = Api().get("/readyz")
    assert (answer.status, answer.body["status"]) == (503, "unavailable")
    assert "no worker" in answer.body["checks"]["gpu-worker"]
    assert answer.body["checks"]["redis-state"] == "ok"


def test_not_ready_when_the_worker_ended(db: None, worker: Heartbeat) -> None:
    worker.end()
    assert Api().get("/readyz").status == 503


def test_a_worker_for_jobs_computes_no_predictions(db: None) -> None:
    Heartbeat(queue="jobs", device="cpu").beat()
    assert Api().get("/readyz").status == 503


def test_a_worker_of_any_pool_will_do_unless_all_are_drained(db: None) -> None:
    worker = Heartbeat(queue="large", device="cpu", name="large-1@host")
    worker.beat()
    assert Api().get("/readyz").status == 200
    workers.drain(worker="large-1@host", by="ada@staff.example")
    worker.beat()
    worker.beat()
    answer = Api().get("/readyz")
    assert (answer.status, answer.body["checks"]["gpu-worker"]) == (503, "every worker is drained")


def test_not_ready_without_the_state(db: None, worker: Heartbeat, state_redis: RedisServer) -> None:
    state_redis.stop()
    answer = Api().get("/readyz")
    assert answer.status == 503
    assert "Redis" in answer.body["checks"]["redis-state"]
    assert answer.body["checks"]["sql"] == "ok"


def test_a_refused_password_is_told_apart(
    acme: Customer, worker: Heartbeat, state_redis: RedisServer, cache_redis: RedisServer
) -> None:
    with state_redis.refusing(), cache_redis.refusing():
        answer = Api().get("/readyz")
        assert answer.status == 503
        assert answer.body["checks"]["redis-state"] == "Redis refuses the password"
        assert answer.body["checks"]["redis-cache"] == "Redis refuses the password"
        called = Api(acme).get("/v2/limits")
        assert (called.status, called.headers["Retry-After"]) == (503, "1")
    assert Api().get("/readyz").status == 200


def test_ready_without_the_cache(db: None, worker: Heartbeat, cache_redis: RedisServer) -> None:
    cache_redis.stop()
    answer = Api().get("/readyz")
    assert answer.status == 200
    assert answer.body["checks"]["redis-cache"] != "ok"


def test_a_worker_of_tenants_models_alone_answers_no_other_calls(db: None) -> None:
    Heartbeat(queue="private", device="cpu").beat()
    answer = Api().get("/readyz")
    assert (answer.status, answer.body["checks"]["gpu-worker"]) == (503, "no worker gives a sign of life")
    Heartbeat(queue="gpu", device="cpu", pools=["gpu", "private"]).beat()
    assert Api().get("/readyz").status == 200
