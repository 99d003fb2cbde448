"""Who may call, under which identity, and until when which API version answers."""

from tenants.models.api_key import ApiKey, ApiKeySecret
from tenants.models.api_version import ApiVersion
from tenants.models.deprecation import Audience, Brownout, DeprecationSchedule, Extension, SubjectKind
from tenants.models.event import Event
from tenants.models.installation import Installation
from tenants.models.membership import Membership, Role
from tenants.models.tenant import Tenant, TenantStatus
from tenants.models.trusted_document import TrustedDocument
from tenants.models.user import User

__all__ = [
    "ApiKey",
    "ApiKeySecret",
    "ApiVersion",
    "Audience",
    "Brownout",
    "DeprecationSchedule",
    "Event",
    "Extension",
    "Installation",
    "Membership",
    "Role",
    "SubjectKind",
    "Tenant",
    "TenantStatus",
    "TrustedDocument",
    "User",
]
