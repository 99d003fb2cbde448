"""The people of a tenant."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import graphene
from graphene import relay

from mlplatform.lib.deferred import Loader
from tenants.graphql import ids, paging
from tenants.graphql.call import GraphQLCall
from tenants.graphql.ids import Node
from tenants.models import Membership, Role

ORDER: Final = paging.Order("members", (("pk", int),))

MemberRole = graphene.Enum.from_enum(Role, name="Role", description=lambda value: None)


class Member(graphene.ObjectType):
    """A person's role in the tenant."""

    class Meta:
        interfaces = (Node,)
        possible_types = (Membership,)

    name = graphene.String(required=True, description="The full name, or the e-mail address where none was given.")
    email = graphene.String(required=True)
    role = graphene.Field(MemberRole, required=True)
    since = graphene.DateTime(required=True)

    @staticmethod
    def resolve_id(root: Membership, info: graphene.ResolveInfo) -> str:
        return ids.encode("Member", root.pk)

    @staticmethod
    def resolve_name(root: Membership, info: graphene.ResolveInfo) -> str:
        return root.user.get_full_name()

    @staticmethod
    def resolve_email(root: Membership, info: graphene.ResolveInfo) -> str:
        return root.user.email

    @staticmethod
    def resolve_since(root: Membership, info: graphene.ResolveInfo) -> Any:
        return root.created_at


class MemberConnection(relay.Connection):
    class Meta:
        node = Member
        strict_types = True


class MemberLoader(Loader[int, Membership]):
    """Members of the caller's tenant by primary key."""

    def fetch(self, keys: Sequence[int]) -> Mapping[int, Membership]:
        rows = Membership.objects.select_related("user").filter(tenant_id=self.call.key.tenant_id)
        return rows.in_bulk(list(keys))


def page(call: GraphQLCall, **arguments: Any) -> Any:
    """A page of the tenant's members, in the order in which they came."""
    rows = Membership.objects.select_related("user").filter(tenant_id=call.key.tenant_id)
    return paging.of_rows(rows, ORDER, **arguments).of(MemberConnection)


def node(call: GraphQLCall, key: str) -> Any:
    """The member with this primary key, for ``node(id)``."""
    return call.loader(MemberLoader).load(ids.row_number(key)).then(ids.found)
