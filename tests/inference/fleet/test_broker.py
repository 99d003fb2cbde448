"""The message that we write is the one that the installed Celery would write, and a worker's transport reads it."""

import json
from typing import Any

import pytest
from celery import current_app
from pytest_django import Settings

import mlplatform.celery  # noqa: F401 - makes the application current
from inference.fleet import broker
from inference.types import Priority
from mlplatform.lib import redis

TASK = "inference.run_batch"


def lists() -> dict[str, list[dict[str, Any]]]:
    """Every message in the broker, by the list that it lies in."""
    found = {}
    for key in redis.state().keys("celery:*"):
        name = redis.as_bytes(key).decode()
        if "_kombu" not in name:
            found[name] = [json.loads(body) for body in redis.state().lrange(name, 0, -1)]
    return found


@pytest.mark.parametrize("priority", list(Priority))
def test_it_is_what_celery_would_send(priority: Priority) -> None:
    argument, task_id = 'AAECAwQ="\\ü', "ab" * 16
    current_app.send_task(
        TASK,
        args=[argument],
        queue="gpu",
        task_id=task_id,
        priority=broker.PRIORITIES[priority],
        ignore_result=True,
    )
    theirs = lists()
    redis.state().flushdb()
    broker.publish(task=TASK, argument=argument, queue="gpu", task_id=task_id, priority=priority)
    ours = lists()
    assert ours.keys() == theirs.keys()
    (name,) = ours
    assert name == broker.list_name("gpu", broker.PRIORITIES[priority])
    (their_message,), (our_message,) = theirs[name], ours[name]
    assert json.loads(our_message.pop("body")) == json.loads(their_message.pop("body"))
    for message in (our_message, their_message):
        # Names of the sender, fresh ids, and a text for Celery's log that repeats the arguments.
        assert message["headers"].pop("origin")
        assert message["headers"].pop("argsrepr")
        assert message["properties"].pop("reply_to")
        assert message["properties"].pop("delivery_tag")
    assert our_message == their_message


def test_a_broker_that_is_no_redis_gets_celerys_own_message(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CELERY_BROKER_URL = "amqp://guest@localhost//"
    broker.direct_client.cache_clear()
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(current_app, "send_task", lambda task, **options: sent.append({"task": task, **options}))
    try:
        broker.publish(task=TASK, argument="x", queue="pool-b", task_id="1", priority=Priority.BACKGROUND)
    finally:
        broker.direct_client.cache_clear()
    (message,) = sent
    assert (message["task"], message["args"], message["queue"], message["priority"]) == (TASK, ["x"], "pool-b", 9)
