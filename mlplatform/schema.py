"""The GraphQL schema: what the floors know of the caller, its tenant and the models, put together."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import graphene

from billing.graphql import queries as billing
from inference.graphql import queries as inference
from mlplatform.lib.graphql_cost import cost
from tenants import scopes
from tenants.authentication import Caller
from tenants.graphql import deprecations, ids
from tenants.graphql import queries as tenants
from tenants.graphql.call import GraphQLCall
from tenants.graphql.ids import Node
from tenants.graphql.queries import CallersTenant


class Tenant(tenants.TenantFields, billing.TenantFields, inference.TenantFields, graphene.ObjectType):
    """The organisation that the API key belongs to."""

    class Meta:
        interfaces = (Node,)
        possible_types = (CallersTenant,)


class Me(tenants.MeFields, billing.MeFields, graphene.ObjectType):
    """The caller: the API key that the query was sent with."""

    class Meta:
        possible_types = (Caller,)

    tenant = graphene.Field(Tenant, required=True)

    @staticmethod
    def resolve_tenant(root: Caller, info: graphene.ResolveInfo) -> CallersTenant:
        return CallersTenant(root)


def _own_tenant(call: GraphQLCall, key: str) -> CallersTenant:
    return ids.found(CallersTenant(call.key) if key == call.key.tenant_slug else None)  # type: ignore[no-any-return]


_NODES: Final[Mapping[str, tuple[str, Callable[[GraphQLCall, str], Any]]]] = {
    "Tenant": ("", _own_tenant),
    **tenants.NODES,
    **inference.NODES,
}


class Query(inference.Query, graphene.ObjectType):
    """What can be asked. Fields that a key lacks the scope for are null, with an error that names the scope."""

    me = graphene.Field(Me)
    tenant = graphene.Field(Tenant)
    node = cost(graphene.Field(Node, id=graphene.ID(required=True), description="The object with this global id."))

    @staticmethod
    def resolve_me(root: Any, info: graphene.ResolveInfo) -> Caller:
        return info.context.key  # type: ignore[no-any-return]

    @staticmethod
    def resolve_tenant(root: Any, info: graphene.ResolveInfo) -> CallersTenant:
        return CallersTenant(info.context.key)

    @staticmethod
    def resolve_node(root: Any, info: graphene.ResolveInfo, id: str) -> Any:  # noqa: A002 - Relay's name
        type_name, key = ids.decode(id)
        if type_name not in _NODES:
            raise ids.no_such_node()
        scope, find = _NODES[type_name]
        if scope:
            scopes.require(info.context.key.scopes, scope)
        return find(info.context, key)


schema: Final = graphene.Schema(query=Query)
deprecations.bring_to_life(schema.graphql_schema)
