"""How a worker's consumer runs a batch: acknowledged when it can be read, and never the end of the consumer."""

from types import SimpleNamespace
from typing import Any

import pytest
from celery.concurrency import solo
from celery.exceptions import InvalidTaskError

from inference.worker.celery_strategy import at_once


def handle(body: str, run: Any) -> list[str]:
    """What happened to a message with this body."""
    happened: list[str] = []
    consumer = SimpleNamespace(pool=object.__new__(solo.TaskPool), connection_errors=())
    handler = at_once(SimpleNamespace(name="inference.run_batch", run=run), None, consumer)

    def ack(*_: Any) -> None:
        happened.append("acknowledged")

    try:
        handler(SimpleNamespace(body=body), None, ack, None, None)
    except InvalidTaskError:
        happened.append("invalid")
    return happened


def test_a_batch_is_acknowledged_before_it_runs_once() -> None:
    ran: list[str] = []
    assert handle('[["text"], {}, null]', ran.append) == ["acknowledged"]
    assert ran == ["text"]


@pytest.mark.parametrize("body", ["[[], {}, null]", '[["a", "b"], {}, null]', "[[1], {}, null]", "no json"])
def test_what_is_no_batch_is_left_to_celery_to_reject(body: str) -> None:
    assert handle(body, pytest.fail) == ["invalid"], "what is acknowledged cannot be rejected, and would end the worker"


def test_a_failure_outside_of_the_model_does_not_end_the_consumer() -> None:
    def run(_: str) -> None:
        raise ValueError("unreadable")

    assert handle('[["text"], {}, null]', run) == ["acknowledged"]
