"""A tenant's end users and items, and what is recommended to whom."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import graphene
from django.db.models import QuerySet
from graphene import relay

from billing.models import Operation
from inference.graphql.answers import Answering, ModelReference
from inference.graphql.calling import context_of
from inference.models import EndUser, Item
from inference.recommendations import audience, recommendations
from inference.recommendations.forms import RECOMMENDER
from inference.recommendations.recommendations import MAX_LIMIT, Recommendations
from mlplatform.lib.deferred import Loader
from mlplatform.lib.errors import PlatformError, invalid
from mlplatform.lib.graphql_cost import cost
from tenants.graphql import ids, paging, text
from tenants.graphql.call import GraphQLCall
from tenants.graphql.ids import Node

SCOPE: Final = "endusers:read"
ITEMS: Final = paging.Order("items", (("pk", int),), descending=True)
_DEFAULT_LIMIT: Final = 10


@dataclass(frozen=True, slots=True)
class Recommended:
    """An item and which model version scored it."""

    item_id: str
    title: str
    score: float | None
    categories: tuple[str, ...]
    model: Answering


class Recommendation(graphene.ObjectType):
    """An item that a user may like."""

    class Meta:
        possible_types = (Recommended,)

    item_id = graphene.String(required=True, description="The tenant's own id.")
    title = graphene.String(required=True)
    score = graphene.Float(description="0 to 1; null where no taste is known: then the newest items have to do.")
    categories = graphene.List(graphene.NonNull(graphene.String), required=True)
    model = graphene.Field(ModelReference, required=True, description="What scored it.")


class UserPreferences(graphene.ObjectType):
    """What a user prefers."""

    categories = graphene.List(graphene.NonNull(graphene.String), required=True)


def _limit(arguments: Mapping[str, Any]) -> int:
    limit: int | None = arguments.get("limit")
    if limit is None:  # null, in place of the default
        return _DEFAULT_LIMIT
    if not 1 <= limit <= MAX_LIMIT:
        raise invalid("limit", f"The limit is a whole number from 1 to {MAX_LIMIT}.")
    return limit


def _scoring(arguments: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """What recommendations for one user cost at least: many candidates are several inputs."""
    _limit(arguments)
    return [(Operation.PREDICT.value, [RECOMMENDER])]


class EndUserType(graphene.ObjectType):
    """A person whom the tenant serves."""

    class Meta:
        name = "EndUser"
        interfaces = (Node,)
        possible_types = (EndUser,)

    external_id = graphene.String(required=True, description="The tenant's own id.")
    name = graphene.String(required=True)
    preferences = graphene.Field(UserPreferences, required=True)
    recommendations = cost(
        graphene.List(
            graphene.NonNull(Recommendation),
            limit=graphene.Int(default_value=_DEFAULT_LIMIT, description=f"At most {MAX_LIMIT}."),
            description="Items that the user has not liked, the best first. Those of all users of a query are one call.",
        ),
        predicts=_scoring,
        on_sale=True,
    )

    @staticmethod
    def resolve_id(root: EndUser, info: graphene.ResolveInfo) -> str:
        return ids.encode("EndUser", root.pk)

    @staticmethod
    def resolve_preferences(root: EndUser, info: graphene.ResolveInfo) -> UserPreferences:
        return UserPreferences(categories=root.categories)

    @staticmethod
    def resolve_recommendations(root: EndUser, info: graphene.ResolveInfo, limit: int | None) -> Any:
        return info.context.loader(RecommendationsLoader).load((root, _limit({"limit": limit})))


class ItemType(graphene.ObjectType):
    """Something that the tenant recommends."""

    class Meta:
        name = "Item"
        interfaces = (Node,)
        possible_types = (Item,)

    item_id = graphene.String(required=True, description="The tenant's own id.")
    title = graphene.String(required=True)
    description = graphene.String(required=True)
    categories = graphene.List(graphene.NonNull(graphene.String), required=True)

    @staticmethod
    def resolve_id(root: Item, info: graphene.ResolveInfo) -> str:
        return ids.encode("Item", root.pk)

    @staticmethod
    def resolve_item_id(root: Item, info: graphene.ResolveInfo) -> str:
        return root.external_id


class ItemConnection(relay.Connection):
    class Meta:
        node = ItemType
        name = "ItemConnection"
        strict_types = True


class UserLoader(Loader[str, EndUser]):
    """End users of the caller's tenant by the tenant's own ids."""

    def fetch(self, keys: Sequence[str]) -> Mapping[str, EndUser]:
        return audience.users(tenant_id=self.call.key.tenant_id, external_ids=keys)


class UserRowLoader(Loader[int, EndUser]):
    """End users of the caller's tenant by primary key."""

    def fetch(self, keys: Sequence[int]) -> Mapping[int, EndUser]:
        return EndUser.objects.filter(tenant_id=self.call.key.tenant_id).in_bulk(list(keys))


class ItemRowLoader(Loader[int, Item]):
    """Items of the caller's tenant by primary key."""

    def fetch(self, keys: Sequence[int]) -> Mapping[int, Item]:
        return _items(self.call).in_bulk(list(keys))


class RecommendationsLoader(Loader[tuple[EndUser, int], list[Recommended]]):
    """The best items for users, so many for each: of all users of an operation by one call."""

    def fetch(self, keys: Sequence[tuple[EndUser, int]]) -> Mapping[tuple[EndUser, int], list[Recommended] | Exception]:
        users = list(dict.fromkeys(user for user, _ in keys))
        context = replace(context_of(self.call, Operation.PREDICT), request_id=self.call.next_call_id())
        answer = recommendations.answer(
            self.call.key, users=users, limit=max(limit for _, limit in keys), context=context
        )
        self.call.note(answer)
        results = dict(zip(users, answer.results, strict=True))
        return {(user, limit): _cut(results[user], limit) for user, limit in keys}


class Query:
    """The tenant's audience."""

    user = cost(
        graphene.Field(EndUserType, id=graphene.ID(required=True, description="The tenant's own id.")), scope=SCOPE
    )
    users = cost(
        graphene.List(
            EndUserType,
            ids=graphene.List(graphene.NonNull(graphene.ID), required=True, description="At most 100."),
            description="In the order of the ids; null for an id that the tenant has no end user of.",
        ),
        scope=SCOPE,
        multiplier="ids",
    )
    items = paging.connection(ItemConnection, scope=SCOPE, description="What the tenant recommends, the newest first.")

    @staticmethod
    def resolve_user(root: Any, info: graphene.ResolveInfo, id: str) -> Any:  # noqa: A002 - the argument's name
        external_id = text.plain(id, field="id")

        def found(user: EndUser | None) -> EndUser:
            if user is None:
                raise audience.no_user(external_id)
            return user

        return info.context.loader(UserLoader).load(external_id).then(found)

    @staticmethod
    def resolve_users(root: Any, info: graphene.ResolveInfo, ids: Sequence[str]) -> Any:
        if len(ids) > paging.MAX_PAGE:
            raise invalid("ids", f"Ask for at most {paging.MAX_PAGE} users at once, not {len(ids):,}.")
        wanted = [text.plain(one, field=f"ids[{place}]") for place, one in enumerate(ids)]
        return info.context.loader(UserLoader).load_many(wanted)

    @staticmethod
    def resolve_items(root: Any, info: graphene.ResolveInfo, **page: Any) -> Any:
        return paging.of_rows(_items(info.context), ITEMS, **page).of(ItemConnection)


def user_node(call: GraphQLCall, key: str) -> Any:
    """For ``node(id)``."""
    return call.loader(UserRowLoader).load(ids.row_number(key)).then(ids.found)


def item_node(call: GraphQLCall, key: str) -> Any:
    """For ``node(id)``."""
    return call.loader(ItemRowLoader).load(ids.row_number(key)).then(ids.found)


def _items(call: GraphQLCall) -> "QuerySet[Item]":
    return Item.objects.filter(tenant_id=call.key.tenant_id).defer("embedding")


def _cut(result: Recommendations | PlatformError, limit: int) -> list[Recommended] | Exception:
    if isinstance(result, PlatformError):
        return result
    model = Answering(result.model, result.model_version)
    return [Recommended(item.item_id, item.title, item.score, item.categories, model) for item in result.items[:limit]]
