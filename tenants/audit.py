"""Which rows of this app are audited, and which of their fields are left out because they are secrets or noise."""

from auditlog.registry import auditlog

from tenants.models import (
    ApiKey,
    ApiKeySecret,
    ApiVersion,
    Brownout,
    DeprecationSchedule,
    Extension,
    Membership,
    Tenant,
    TrustedDocument,
    User,
)


def register() -> None:
    """Called once when Django is ready."""
    auditlog.register(User, exclude_fields=["password", "last_login"], m2m_fields={"groups", "user_permissions"})
    auditlog.register(Tenant, exclude_fields=["version"])
    auditlog.register(Membership)
    auditlog.register(TrustedDocument)
    for model in (ApiVersion, DeprecationSchedule, Brownout, Extension):
        auditlog.register(model)
    auditlog.register(ApiKey, exclude_fields=["version", "last_used_at"])
    auditlog.register(ApiKeySecret, exclude_fields=["sha256"])
