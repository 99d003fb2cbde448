"""API keys as their tenant sees them: never a secret, only how it begins and ends."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final

import graphene
from graphene import relay

from mlplatform.lib import clock
from mlplatform.lib.deferred import Loader
from tenants.graphql import ids, paging
from tenants.graphql.call import GraphQLCall
from tenants.graphql.ids import Node
from tenants.models import ApiKey, ApiKeySecret
from tenants.models.api_key import KeyMode

ORDER: Final = paging.Order("keys", (("created_at", dt.datetime), ("pk", int)), descending=True)

Mode = graphene.Enum.from_enum(KeyMode, name="KeyMode", description=lambda value: None)


class KeySecret(graphene.ObjectType):
    """One secret of a key; the secret itself was shown once and is kept nowhere."""

    class Meta:
        possible_types = (ApiKeySecret,)

    prefix = graphene.String(required=True, description="How it begins.")
    last_four = graphene.String(required=True, description="How it ends.")
    created_at = graphene.DateTime(required=True)
    expires_at = graphene.DateTime(description="Set for the older secret while the key is being rotated.")


class Key(graphene.ObjectType):
    """An API key: a program's identity within the tenant."""

    class Meta:
        name = "ApiKey"
        interfaces = (Node,)
        possible_types = (ApiKey,)

    key_id = graphene.String(required=True, description="Its public id, which stays when its secret is rotated.")
    name = graphene.String(required=True)
    mode = graphene.Field(Mode, required=True)
    scopes = graphene.List(graphene.NonNull(graphene.String), required=True)
    allowed_models = graphene.List(graphene.NonNull(graphene.String), description="Null: all models.")
    allowed_networks = graphene.List(graphene.NonNull(graphene.String), description="Null: all networks.")
    pinned_api_version = graphene.String()
    created_at = graphene.DateTime(required=True)
    expires_at = graphene.DateTime()
    last_used_at = graphene.DateTime(description="To the minute.")
    revoked_at = graphene.DateTime()
    active = graphene.Boolean(required=True, description="Neither revoked nor expired.")
    secrets = graphene.List(graphene.NonNull(KeySecret), required=True)

    @staticmethod
    def resolve_id(root: ApiKey, info: graphene.ResolveInfo) -> str:
        return ids.encode("ApiKey", root.uid)

    @staticmethod
    def resolve_key_id(root: ApiKey, info: graphene.ResolveInfo) -> str:
        return root.uid

    @staticmethod
    def resolve_allowed_models(root: ApiKey, info: graphene.ResolveInfo) -> list[str] | None:
        return root.allowed_models or None

    @staticmethod
    def resolve_allowed_networks(root: ApiKey, info: graphene.ResolveInfo) -> list[str] | None:
        return root.allowed_cidrs or None

    @staticmethod
    def resolve_pinned_api_version(root: ApiKey, info: graphene.ResolveInfo) -> str | None:
        return root.pinned_api_version or None

    @staticmethod
    def resolve_active(root: ApiKey, info: graphene.ResolveInfo) -> bool:
        return root.revoked_at is None and (root.expires_at is None or root.expires_at > clock.now())

    @staticmethod
    def resolve_secrets(root: ApiKey, info: graphene.ResolveInfo) -> Any:
        return info.context.loader(SecretsLoader).load(root.pk)


class KeyConnection(relay.Connection):
    class Meta:
        node = Key
        name = "ApiKeyConnection"
        strict_types = True


class SecretsLoader(Loader[int, list[ApiKeySecret]]):
    """The secrets of keys, newest first, by the primary key of the key."""

    def fetch(self, keys: Sequence[int]) -> Mapping[int, list[ApiKeySecret]]:
        found: dict[int, list[ApiKeySecret]] = {key: [] for key in keys}
        for row in ApiKeySecret.objects.filter(key_id__in=keys).order_by("-created_at", "-pk"):
            found[row.key_id].append(row)
        return found


class KeyLoader(Loader[str, ApiKey]):
    """Keys of the caller's tenant by their uid."""

    def fetch(self, keys: Sequence[str]) -> Mapping[str, ApiKey]:
        rows = ApiKey.objects.filter(tenant_id=self.call.key.tenant_id, uid__in=keys)
        return {row.uid: row for row in rows}


def page(call: GraphQLCall, **arguments: Any) -> Any:
    """A page of the tenant's keys, newest first."""
    return paging.of_rows(ApiKey.objects.filter(tenant_id=call.key.tenant_id), ORDER, **arguments).of(KeyConnection)


def node(call: GraphQLCall, key: str) -> Any:
    """The key with this uid, for ``node(id)``."""
    return call.loader(KeyLoader).load(key).then(ids.found)
