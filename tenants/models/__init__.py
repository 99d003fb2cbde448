"""Who may call, and under which identity."""

from tenants.models.api_key import ApiKey, ApiKeySecret
from tenants.models.membership import Membership, Role
from tenants.models.tenant import Tenant, TenantStatus
from tenants.models.user import User

__all__ = ["ApiKey", "ApiKeySecret", "Membership", "Role", "Tenant", "TenantStatus", "User"]
