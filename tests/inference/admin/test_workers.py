"""The page "Workers": what is shown to whom, and draining with a question before it."""

import re

import pytest
from auditlog.models import LogEntry
from django.test import Client

from inference.fleet import draining, workers
from inference.fleet.broker import list_name
from inference.fleet.workers import Heartbeat, LoadedModel
from inference.models import MLModel
from mlplatform.lib import redis
from tests.support import staff
from tests.support.redis_server import RedisServer
from tests.support.tiny_model import make_version

PAGE = "/admin/inference/mlmodel/workers/"
DRAIN = PAGE + "gpu-1@host/drain/"
CONFIRMED = {"confirmed": "yes"}


@pytest.fixture
def admin(db: None) -> Client:
    return staff.signed_in(staff.superuser())


def beat(name: str = "gpu-1@host", *pools: str) -> Heartbeat:
    worker = Heartbeat(queue=(pools or ("gpu",))[0], device="cpu", pools=pools, name=name)
    worker.note(0.0321)
    worker.memory_limit_bytes = 2**30
    worker.loaded = lambda: [LoadedModel("tiny@1.0.0", 256 * 2**20, 7, 0.0123, 1_700_000_000.0, wanted=True)]
    worker.beat()
    return worker


def test_it_shows_each_worker_with_its_models(admin: Client) -> None:
    beat()
    Heartbeat(queue="jobs", device="cpu", name="jobs@host").beat()
    answer = admin.get(PAGE)
    (line,) = answer.context["workers"]
    assert (line.info.name, line.memory, line.meter, line.batch) == ("gpu-1@host", "256.0 MB of 1.0 GB", 25, "32.1 ms")
    (model,) = line.models
    assert (model.reference, model.size, model.batches, model.batch) == ("tiny@1.0.0", "256.0 MB", "7", "12.3 ms")
    page = answer.content.decode()
    assert "Takes batches" in page
    assert "jobs@host" not in page


def test_it_shows_each_pool_with_what_waits_and_who_computes(admin: Client) -> None:
    make_version("tiny")
    make_version("huge")
    MLModel.objects.filter(name="huge").update(pool="large")
    beat("gpu-1@host", "gpu", "spare")
    redis.state().lpush("celery:gpu", *range(15))
    redis.state().lpush(list_name("gpu", 9), "in the background")
    answer = admin.get(PAGE)
    assert 'class="p-right p-number">1</td>' in re.sub(r"\s*<span.*?</span>", "", answer.content.decode())
    pools = {pool.name: pool for pool in answer.context["pools"]}
    assert {name: (pool.accepting, pool.waiting, pool.models, pool.tone) for name, pool in pools.items()} == {
        "gpu": (1, 16, ("tiny@1.0.0",), "warning"),
        "large": (0, 0, ("huge@1.0.0",), "danger"),
        "spare": (1, 0, (), ""),
    }


def test_a_worker_is_drained_and_let_back_after_a_question(admin: Client) -> None:
    worker = beat()
    question = admin.get(DRAIN).content.decode()
    assert "No other worker takes batches of gpu" in question
    assert workers.drain_orders() == []
    assert staff.said(admin.post(DRAIN, CONFIRMED, follow=True)) == [
        "gpu-1@host finishes what it has and takes no new batch."
    ]
    (order,) = workers.drain_orders()
    assert (order.worker, order.by) == ("gpu-1@host", "ada@staff.example")
    assert "Draining" in admin.get(PAGE).content.decode()
    worker.beat()
    worker.beat()
    assert "Drained" in admin.get(PAGE).content.decode()
    assert "take batches again?" in admin.get(DRAIN).content.decode()
    assert staff.said(admin.post(DRAIN, CONFIRMED, follow=True)) == ["gpu-1@host takes batches again."]
    assert workers.drain_orders() == []
    ordered, taken_back = LogEntry.objects.filter(object_repr="gpu-1@host").order_by("pk")
    assert (ordered.changes, taken_back.changes) == (
        {"batches": ["takes batches", "drained"]},
        {"batches": ["drained", "takes batches"]},
    )
    for entry in (ordered, taken_back):
        assert entry.actor is not None
        assert (entry.actor.get_username(), entry.remote_addr) == ("ada@staff.example", "127.0.0.1")
    log = admin.get("/admin/auditlog/logentry/").content.decode()
    assert "gpu-1@host" in log
    assert "gpu-1@host" in admin.get(f"/admin/auditlog/logentry/{ordered.pk}/change/").content.decode()


def test_with_another_worker_of_the_pool_nothing_is_lost_by_draining(admin: Client) -> None:
    beat()
    beat("gpu-2@host")
    assert "No other worker" not in admin.get(DRAIN).content.decode()


def test_the_order_for_a_worker_that_is_away_is_shown_and_can_be_taken_back(admin: Client) -> None:
    workers.drain(worker="gpu-1@host", by="ada@staff.example")
    assert "Drained, and not alive" in admin.get(PAGE).content.decode()
    admin.post(DRAIN, CONFIRMED)
    assert workers.drain_orders() == []


def test_an_unknown_worker_cannot_be_drained(admin: Client) -> None:
    assert admin.post(DRAIN, CONFIRMED).status_code == 404
    Heartbeat(queue="jobs", device="cpu", name="jobs@host").beat()
    assert admin.post(PAGE + "jobs@host/drain/", CONFIRMED).status_code == 404
    assert workers.drain_orders() == []


def test_who_may_only_look_sees_workers_and_cannot_drain(db: None) -> None:
    beat()
    looker = staff.signed_in(staff.with_role("support"))
    page = looker.get(PAGE)
    assert page.status_code == 200
    assert "/drain/" not in page.content.decode()
    assert looker.post(DRAIN, CONFIRMED).status_code == 403
    assert workers.drain_orders() == []


def test_staff_without_a_role_see_nothing(db: None) -> None:
    assert staff.signed_in(staff.with_role("")).get(PAGE).status_code == 403


def test_without_redis_the_page_says_so_and_nothing_is_changed(admin: Client, state_redis: RedisServer) -> None:
    beat()
    state_redis.stop()
    answer = admin.get(PAGE)
    assert answer.status_code == 200
    assert "The state Redis does not answer" in answer.content.decode()
    assert staff.said(admin.post(DRAIN, CONFIRMED, follow=True)) == [
        "The state Redis does not answer; nothing was changed."
    ]
    assert not LogEntry.objects.filter(object_repr="gpu-1@host").exists()


def test_what_redis_does_not_take_is_not_in_the_log(db: None, state_redis: RedisServer) -> None:
    state_redis.stop()
    with pytest.raises(redis.FAILURES):
        draining.order(worker="gpu-1@host", by="ada@staff.example")
    assert not LogEntry.objects.filter(object_repr="gpu-1@host").exists()
    state_redis.start()
    assert draining.take_back(worker="gpu-1@host") is False
    assert not LogEntry.objects.filter(object_repr="gpu-1@host").exists()
