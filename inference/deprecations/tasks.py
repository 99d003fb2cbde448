"""Celery tasks of rehearsals, in the ``jobs`` queue."""

from celery import shared_task

from inference.deprecations.rehearsals import jobs as rehearsal_jobs


@shared_task(name=rehearsal_jobs.TASK, ignore_result=True)
def rehearse(rehearsal_id: int) -> None:
    """Replay a tenant's sampled calls on the successor and make the report."""
    rehearsal_jobs.run(rehearsal_id)


@shared_task(name="inference.sweep_rehearsals", ignore_result=True)
def sweep_rehearsals() -> None:
    """Send what was lost once more, and end what failed too often."""
    rehearsal_jobs.sweep()
