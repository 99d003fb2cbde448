"""Which rows of this app are audited."""

from auditlog.registry import auditlog

from inference.models import MLModel, ModelVersion, Rehearsal


def register() -> None:
    """Called once when Django is ready."""
    auditlog.register(MLModel)
    auditlog.register(ModelVersion)
    auditlog.register(Rehearsal, exclude_fields=["report", "lease_until", "attempt"])
