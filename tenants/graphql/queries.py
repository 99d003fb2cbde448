"""What this floor knows of the caller and its tenant. The types are put together at the roof, from all floors' fields."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import graphene

from mlplatform.lib.deferred import Loader
from mlplatform.lib.graphql_cost import cost
from tenants.authentication import Caller
from tenants.graphql import ids, keys, members, paging
from tenants.models import Tenant


@dataclass(frozen=True, slots=True)
class CallersTenant:
    """The tenant as the caller knows it without a look into SQL."""

    caller: Caller


class TenantPreferences(graphene.ObjectType):
    """What the tenant has chosen."""

    class Meta:
        possible_types = (Tenant,)

    default_model = graphene.String(description="Answers calls that name no model.")
    keeps_sampled_calls = graphene.Boolean(
        required=True, description="Whether samples of calls of ending versions are kept, to rehearse a migration."
    )

    @staticmethod
    def resolve_default_model(root: Tenant, info: graphene.ResolveInfo) -> str | None:
        return root.default_model or None

    @staticmethod
    def resolve_keeps_sampled_calls(root: Tenant, info: graphene.ResolveInfo) -> bool:
        return root.keeps_calls


class TenantLoader(Loader[int, Tenant]):
    """The caller's own tenant by primary key, and no other."""

    def fetch(self, keys: Sequence[int]) -> Mapping[int, Tenant]:
        return Tenant.objects.in_bulk([key for key in keys if key == self.call.key.tenant_id])


class TenantFields:
    """Fields of the type ``Tenant``."""

    slug = graphene.String(required=True, description="Its short name, which never changes.")
    name = graphene.String(required=True)
    preferences = cost(graphene.Field(TenantPreferences), scope="tenant:read")
    members = paging.connection(members.MemberConnection, scope="tenant:read", description="The people of the tenant.")
    keys = paging.connection(keys.KeyConnection, scope="tenant:read", description="Its API keys, newest first.")

    @staticmethod
    def resolve_id(root: CallersTenant, info: graphene.ResolveInfo) -> str:
        return ids.encode("Tenant", root.caller.tenant_slug)

    @staticmethod
    def resolve_slug(root: CallersTenant, info: graphene.ResolveInfo) -> str:
        return root.caller.tenant_slug

    @staticmethod
    def resolve_name(root: CallersTenant, info: graphene.ResolveInfo) -> str:
        return root.caller.tenant_name

    @staticmethod
    def resolve_preferences(root: CallersTenant, info: graphene.ResolveInfo) -> Any:
        return info.context.loader(TenantLoader).load(root.caller.tenant_id)

    @staticmethod
    def resolve_members(root: CallersTenant, info: graphene.ResolveInfo, **page: Any) -> Any:
        return members.page(info.context, **page)

    @staticmethod
    def resolve_keys(root: CallersTenant, info: graphene.ResolveInfo, **page: Any) -> Any:
        return keys.page(info.context, **page)


class MeFields:
    """Fields of the type ``Me``. They need no scope: a key may know itself."""

    key_id = graphene.String(required=True)
    key_name = graphene.String(required=True)
    mode = graphene.Field(keys.Mode, required=True)
    scopes = graphene.List(graphene.NonNull(graphene.String), required=True)
    allowed_models = graphene.List(graphene.NonNull(graphene.String), description="Null: all models.")
    allowed_networks = graphene.List(graphene.NonNull(graphene.String), description="Null: all networks.")
    pinned_api_version = graphene.String(description="The REST API version of calls that select none.")
    valid_until = graphene.DateTime(description="When the key, or this secret of it, expires.")

    @staticmethod
    def resolve_key_id(root: Caller, info: graphene.ResolveInfo) -> str:
        return root.key_uid

    @staticmethod
    def resolve_scopes(root: Caller, info: graphene.ResolveInfo) -> list[str]:
        return sorted(root.scopes)

    @staticmethod
    def resolve_allowed_models(root: Caller, info: graphene.ResolveInfo) -> list[str] | None:
        return sorted(root.allowed_models) or None

    @staticmethod
    def resolve_allowed_networks(root: Caller, info: graphene.ResolveInfo) -> list[str] | None:
        return [str(network) for network in root.networks] or None

    @staticmethod
    def resolve_pinned_api_version(root: Caller, info: graphene.ResolveInfo) -> str | None:
        return root.pinned_api_version or None


NODES: Final = {
    "Member": ("tenant:read", members.node),
    "ApiKey": ("tenant:read", keys.node),
}
"""By type: the scope that ``node(id)`` asks for, and how the object is found within the caller's tenant."""
