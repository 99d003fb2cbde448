"""JSON Schemas of end users, items, likes and recommendations; ``audience.py`` and ``items.py`` refer to them by name."""

from typing import Final

from django.conf import settings

from inference.recommendations.messages import EndUserEntry, ItemEntry, LikeEntry, Preferences
from inference.rest import audience_calls
from inference.rest.schema_components import COUNT
from tenants.http.json_schemas import Schema
from tenants.http.json_schemas import component as json_schema
from tenants.rest.declarations import ref

_ITEM: Final = json_schema(ItemEntry)["properties"]
_USER: Final = json_schema(EndUserEntry)["properties"]
ID: Final[Schema] = _USER["external_id"]
_MOMENT: Final[Schema] = {"type": "string", "format": "date-time"}
_CATEGORIES: Final = _ITEM["categories"]
_NAME: Final = _USER["name"]
_TITLE: Final = _ITEM["title"]
_DESCRIPTION: Final = _ITEM["description"]


def _object(properties: dict[str, Schema]) -> Schema:
    return {"type": "object", "required": list(properties), "properties": properties}


def _closed(required: list[str], properties: dict[str, Schema]) -> Schema:
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


def _many(name: str, schema: str, at_most: int) -> Schema:
    return _closed([name], {name: {"type": "array", "minItems": 1, "maxItems": at_most, "items": ref(schema)}})


def _pages(name: str, schema: str) -> Schema:
    cursor: Schema = {"type": ["string", "null"], "description": "Ask for the next page with it; null on the last."}
    return _object({name: {"type": "array", "items": ref(schema)}, "next_cursor": cursor})


_EMBEDDED: Final = _object(
    {
        "units": COUNT | {"description": "What was charged."},
        "embedded_items": COUNT | {"description": "Items whose text was turned into a vector in this call."},
    }
)

_QUOTE: Final = _object(
    {
        "embedding_units": COUNT
        | {
            "description": "The most that the call costs: the fee and each new text; less where the cache has its vector."
        },
        "recommendation_units": {
            "type": ["integer", "null"],
            "minimum": 0,
            "description": "The most that a recommendation for one user costs with the items that are there then; null while "
            "no recommender is live.",
        },
    }
) | {"description": "By the prices of now."}

SCHEMAS: Final[dict[str, Schema]] = {
    **{one.__name__: json_schema(one) for one in (Preferences, EndUserEntry, ItemEntry, LikeEntry)},
    "EndUsersRequest": _many("users", "EndUserEntry", audience_calls.MAX_USERS_A_CALL),
    "EndUser": _object(
        {
            "external_id": ID,
            "name": _NAME,
            "preferences": _object({"categories": _CATEGORIES}),
            "created_at": _MOMENT,
            "updated_at": _MOMENT,
        }
    ),
    "EndUsers": _pages("users", "EndUser"),
    "ItemsRequest": _many("items", "ItemEntry", settings.MAX_BATCH_REQUESTS),
    "Item": _object(
        {
            "external_id": ID,
            "title": _TITLE,
            "description": _DESCRIPTION,
            "categories": _CATEGORIES,
            "embedded_by": {
                "type": ["string", "null"],
                "description": "The model version that turned its text into a vector.",
                "examples": ["minilm@1.0.0"],
            },
            "created_at": _MOMENT,
            "updated_at": _MOMENT,
        }
    ),
    "Items": _pages("items", "Item"),
    "LikesRequest": _many("likes", "LikeEntry", audience_calls.MAX_LIKES_A_CALL),
    "Like": _object({"item_id": ID, "title": _TITLE, "at": _MOMENT}),
    "Likes": _pages("likes", "Like"),
    "Upserted": _object({"created": COUNT, "updated": COUNT}),
    "ItemsUpserted": _object({"created": COUNT, "updated": COUNT, "usage": _EMBEDDED, "quote": _QUOTE}),
    "LikesAdded": _object({"created": COUNT, "existing": COUNT}),
    "Deleted": _object({"deleted": {"type": "boolean"}}),
    "RecommendedItem": _object(
        {
            "item_id": ID,
            "title": _TITLE,
            "score": {
                "type": ["number", "null"],
                "minimum": 0,
                "maximum": 1,
                "description": "How well it fits; null where nothing is known of the user's taste.",
            },
            "categories": _CATEGORIES,
        }
    ),
    "Recommendations": _object(
        {
            "user_id": ID,
            "items": {"type": "array", "items": ref("RecommendedItem"), "description": "The best first."},
            "basis": {
                "type": "string",
                "enum": ["likes", "preferences", "newest"],
                "description": "Where the taste comes from: what the user likes, else items of preferred categories; else the "
                "newest items are listed, unscored and free.",
            },
            "model": {"type": "string"},
            "model_version": {"type": "string"},
            "cached": {"type": "boolean"},
            "usage": _EMBEDDED,
        }
    ),
}
