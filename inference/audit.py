"""Which rows of this app are audited."""

from auditlog.registry import auditlog

from inference.models import MLModel, ModelVersion


def register() -> None:
    """Called once when Django is ready."""
    auditlog.register(MLModel)
    auditlog.register(ModelVersion)
