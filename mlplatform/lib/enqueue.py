"""Celery tasks by name, after commit: a floor can start work that lives on a floor above it."""

from functools import partial
from typing import Any

from django.db import transaction


def enqueue(task: str, /, *, queue: str = "jobs", **kwargs: Any) -> None:
    """Send ``task`` when the present transaction commits; at once where there is none.

    The row that the task works on must exist by then: the message is a hint, the row is the truth.
    """
    transaction.on_commit(partial(send, task, queue, kwargs))


def enqueue_now(task: str, /, *, queue: str = "jobs", **kwargs: Any) -> None:
    """Send ``task`` at once, also where the present transaction will be rolled back; its row must have been there before."""
    send(task, queue, kwargs)


def send(task: str, queue: str, kwargs: dict[str, Any]) -> None:
    """Hand a task to the broker, whatever becomes of the transaction: the one door through which all tasks leave."""
    from celery import current_app

    current_app.send_task(task, kwargs=kwargs, queue=queue, ignore_result=True)
