"""Celery tasks of rollouts, in the ``jobs`` queue."""

from celery import shared_task

from inference.trials import canary


@shared_task(name=canary.TASK, ignore_result=True)
def judge_rollouts() -> None:
    """Keep what was seen of canaries and shadows, and end canaries that break their bounds."""
    canary.judge_all()
