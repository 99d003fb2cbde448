"""Which rows of this app are audited."""

from auditlog.registry import auditlog

from inference.models import MLModel, ModelVersion, Promotion, Rehearsal, Rollout


def register() -> None:
    """Called once when Django is ready."""
    auditlog.register(MLModel)
    auditlog.register(ModelVersion)
    auditlog.register(Promotion)
    auditlog.register(Rollout, exclude_fields=["observed"])
    auditlog.register(Rehearsal, exclude_fields=["report", "lease_until", "attempt"])
