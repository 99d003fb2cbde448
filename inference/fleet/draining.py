"""Orders to drain a worker, and their end, each with its entry in the audit log: who, when and from where."""

from typing import Final

from auditlog.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import transaction

from inference.fleet import workers

_SUBJECT: Final = "worker"


@transaction.atomic
def order(*, worker: str, by: str) -> None:
    """Have a worker finish what it has and take no new batch. Raises what Redis raises; then nothing is in the log."""
    _note(worker, before="takes batches", after="drained")
    workers.drain(worker=worker, by=by)


@transaction.atomic
def take_back(*, worker: str) -> bool:
    """Let a worker take batches again; False if it was not drained. Raises as :func:`order`."""
    if worker not in {known.worker for known in workers.drain_orders()}:
        return False
    _note(worker, before="drained", after="takes batches")
    return workers.undrain(worker=worker)


def _note(worker: str, *, before: str, after: str) -> None:
    """A worker is no row, so its name stands where the log has a row's key; the user is added by the log's own context."""
    # Of no model: the log shows a content type's bare name then. `get_or_create`, for no migration makes it.
    subject, _ = ContentType.objects.get_or_create(app_label="inference", model=_SUBJECT)
    LogEntry.objects.create(
        content_type=subject,
        object_pk=worker,
        object_repr=worker,
        action=LogEntry.Action.UPDATE,
        changes={"batches": [before, after]},
    )
