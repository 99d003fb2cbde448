"""A small audience for tests: books of two kinds, and how to call the services as a customer's key."""

from typing import Any, Final

from inference.models import EndUser
from inference.recommendations import audience, items
from inference.recommendations.entries import ItemEntry, LikeEntry, UserEntry
from inference.recommendations.items import KeptItems
from inference.types import CallContext
from tenants.authentication import Caller, authenticate
from tests.conftest import Customer

GARDEN: Final = {
    "g1": "How to prune apple trees in winter",
    "g2": "Sowing tomatoes on the window sill",
    "g3": "A watering plan for dry vegetable gardens",
    "g4": "Which roses grow well in the shade",
}
SPACE: Final = {
    "s1": "How rockets reach the orbit of the Moon",
    "s2": "Telescopes that look at distant galaxies",
    "s3": "Life of astronauts on the space station",
    "s4": "Why planets travel around their stars",
}


def caller_of(customer: Customer) -> Caller:
    return authenticate(customer.secret, address="192.0.2.1", fresh=True)


def call(**changes: Any) -> CallContext:
    fields: dict[str, Any] = {"request_id": "req-1", "operation": "predict", "api_version": "v2", "client": "curl/8"}
    return CallContext(**{**fields, **changes})


def entry(external_id: str, title: str, *categories: str, description: str = "") -> ItemEntry:
    return ItemEntry(external_id, title, description, categories, path=f"items[{external_id}].")


def books() -> list[ItemEntry]:
    """Four of each kind, alternating, so that order by age tells nothing."""
    pairs = zip(GARDEN.items(), SPACE.items(), strict=True)
    return [
        one
        for (garden, title), (space, other) in pairs
        for one in (entry(garden, title, "garden"), entry(space, other, "space"))
    ]


def upsert(customer: Customer, *entries: ItemEntry, **changes: Any) -> KeptItems:
    return items.upsert_items(caller_of(customer), entries=entries or books(), context=call(**changes))


def make_user(
    customer: Customer, external_id: str = "ada", *, likes: tuple[str, ...] = (), prefers: tuple[str, ...] = ()
) -> EndUser:
    tenant_id = customer.tenant.pk
    audience.upsert_users(tenant_id=tenant_id, entries=[UserEntry(external_id, external_id.title(), prefers)])
    if likes:
        audience.add_likes(tenant_id=tenant_id, entries=[LikeEntry(external_id, item) for item in likes])
    user = audience.user(tenant_id=tenant_id, external_id=external_id)
    assert user is not None
    return user
