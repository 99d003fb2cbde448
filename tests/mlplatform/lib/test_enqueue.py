"""Tasks go out when the transaction commits, and never when it does not."""

import json

import pytest
from django.db import transaction

from mlplatform.lib import redis
from mlplatform.lib.enqueue import enqueue


def sent(queue: str) -> list[tuple[str, dict[str, object]]]:
    """Names and arguments of the messages that wait in the broker."""
    messages = [json.loads(message) for message in redis.state().lrange(f"celery:{queue}", 0, -1)]
    return [(message["headers"]["task"], json.loads(message["body"])[1]) for message in messages]


@pytest.mark.django_db(transaction=True)
def test_it_is_sent_after_commit_only() -> None:
    with transaction.atomic():
        enqueue("some.task", number=1)
        assert sent("jobs") == []
    assert sent("jobs") == [("some.task", {"number": 1})]


@pytest.mark.django_db(transaction=True)
def test_a_rolled_back_transaction_sends_nothing() -> None:
    with transaction.atomic():
        enqueue("some.task", queue="gpu", number=1)
        transaction.set_rollback(True)
    assert sent("gpu") == sent("jobs") == []


@pytest.mark.django_db(transaction=True)
def test_without_a_transaction_it_is_sent_at_once_to_the_named_queue() -> None:
    enqueue("some.task", queue="gpu")
    assert sent("gpu") == [("some.task", {})]
