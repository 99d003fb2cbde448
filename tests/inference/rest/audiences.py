"""An audience of eight books, and Ada who likes two of them."""

from typing import Any

from inference.models import EndUser, Item, Like
from tests.conftest import Customer
from tests.support.audience import books
from tests.support.rest import Api

FEE = 50
ADA = {"external_id": "ada", "name": "Ada", "preferences": {"categories": ["space"]}}
BODIES: list[dict[str, Any]] = [
    {"external_id": one.external_id, "title": one.title, "categories": list(one.categories)} for one in books()
]


def rows() -> tuple[int, int, int]:
    return EndUser.objects.count(), Item.objects.count(), Like.objects.count()


def fill(customer: Customer) -> Api:
    """Eight books, and Ada who likes two of them."""
    api = Api(customer)
    assert api.post("/v2/items", {"items": BODIES}).status == 200
    assert api.post("/v2/users", {"users": [ADA]}).status == 200
    likes = [{"user_id": "ada", "item_id": one} for one in ("g1", "g2")]
    assert api.post("/v2/likes", {"likes": likes}).status == 200
    return api
