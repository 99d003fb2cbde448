"""OpenAPI of end users, items, likes and recommendations: subclasses of the views that answer, which only declare.

See ``tenants/rest/openapi.py``.
"""

from typing import Any, Final

from django.urls import path
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema_view

from inference.recommendations.recommendations import MAX_LIMIT
from inference.rest import audience
from inference.rest.schema_audience_components import ID
from inference.rest.schema_components import CUT
from mlplatform.lib.errors import ErrorKind
from tenants.rest.openapi import describe, ref

_TAG: Final = "Recommendations"
_BODY: Final = (ErrorKind.PAYLOAD_TOO_LARGE, ErrorKind.UNSUPPORTED_MEDIA_TYPE, ErrorKind.INVALID_INPUT)
_CHARGED: Final = (
    ErrorKind.INVALID_INPUT,
    ErrorKind.CHARGE_TOO_LARGE,
    ErrorKind.QUOTA_EXCEEDED,
    ErrorKind.OVERLOADED,
    ErrorKind.TIMEOUT,
)
_READ: Final = f"Needs the scope `{audience.READ}`. Costs nothing."
_WRITE: Final = f"Needs the scope `{audience.WRITE}`. Costs nothing."
_EXTERNAL_ID: Final = OpenApiParameter("external_id", ID, OpenApiParameter.PATH, description="Your own id.")
_ITEM_ID: Final = OpenApiParameter("item_id", ID, OpenApiParameter.PATH, description="Your own id of the item.")
_PAGING: Final = (
    OpenApiParameter(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": audience.MAX_PAGE, "default": audience.DEFAULT_PAGE},
        OpenApiParameter.QUERY,
        description="How many at most.",
    ),
    OpenApiParameter(
        "cursor",
        {"type": "string"},
        OpenApiParameter.QUERY,
        description="The `next_cursor` of the page before; empty for the first.",
    ),
)


def _example(value: Any) -> tuple[OpenApiExample]:
    return (OpenApiExample("A bookshop", value=value, request_only=True),)


@extend_schema_view(
    get=describe(
        id="listUsers",
        tag=_TAG,
        summary="End users",
        description=f"In the order of their ids. {_READ}",
        answer=ref("EndUsers"),
        kinds=(ErrorKind.INVALID_INPUT,),
        parameters=_PAGING,
    ),
    post=describe(
        id="upsertUsers",
        tag=_TAG,
        summary="Add or replace end users",
        description=f"All of them or none. A user that is there is replaced by what the call says; its likes stay. {_WRITE}",
        request=ref("EndUsersRequest"),
        answer=ref("Upserted"),
        kinds=(*_BODY, ErrorKind.CONFLICT),
        examples=_example(
            {"users": [{"external_id": "user-17", "name": "Ada", "preferences": {"categories": ["science", "travel"]}}]}
        ),
    ),
)
class Users(audience.UsersView):
    """Declared, not served."""


@extend_schema_view(
    get=describe(
        id="getUser",
        tag=_TAG,
        summary="One end user",
        description=_READ,
        answer=ref("EndUser"),
        kinds=(ErrorKind.INVALID_INPUT,),
        parameters=[_EXTERNAL_ID],
    ),
    delete=describe(
        id="deleteUser",
        tag=_TAG,
        summary="Forget an end user",
        description=f"And all that it likes, at once and for good. {_WRITE}",
        answer=ref("Deleted"),
        kinds=(ErrorKind.INVALID_INPUT,),
        parameters=[_EXTERNAL_ID],
    ),
)
class User(audience.UserView):
    """Declared, not served."""


@extend_schema_view(
    get=describe(
        id="listLikes",
        tag=_TAG,
        summary="What an end user likes",
        description=f"In the order of the items' ids. {_READ}",
        answer=ref("Likes"),
        kinds=(ErrorKind.INVALID_INPUT,),
        parameters=[_EXTERNAL_ID, *_PAGING],
    )
)
class UserLikes(audience.UserLikesView):
    """Declared, not served."""


@extend_schema_view(
    delete=describe(
        id="deleteLike",
        tag=_TAG,
        summary="Forget a like",
        description=_WRITE,
        answer=ref("Deleted"),
        kinds=(ErrorKind.INVALID_INPUT,),
        parameters=[_EXTERNAL_ID, _ITEM_ID],
    )
)
class UserLike(audience.UserLikeView):
    """Declared, not served."""


@extend_schema_view(
    get=describe(
        id="recommend",
        tag=_TAG,
        summary="Recommend items to an end user",
        description="The items that the user has not liked and that fit its taste best. One call of the scope `predict` beside "
        f"`{audience.READ}`: each 128 items that are looked at are one input of the model `recommender`, at the price of "
        "`predict`. Items without a vector of the present embedding model get one first, free of charge.",
        answer=ref("Recommendations"),
        kinds=_CHARGED,
        parameters=[
            _EXTERNAL_ID,
            OpenApiParameter(
                "limit",
                {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": audience.DEFAULT_LIMIT},
                OpenApiParameter.QUERY,
                description="How many items at most.",
            ),
        ],
    )
)
class Recommendations(audience.RecommendationsView):
    """Declared, not served."""


@extend_schema_view(
    get=describe(
        id="listItems",
        tag=_TAG,
        summary="Items",
        description=f"In the order of their ids. {_READ}",
        answer=ref("Items"),
        kinds=(ErrorKind.INVALID_INPUT,),
        parameters=_PAGING,
    ),
    post=describe(
        id="upsertItems",
        tag=_TAG,
        summary="Add or replace items",
        description="All of them or none. Items whose text is new are turned into vectors by the model `minilm` in the same call,"
        " of which a longer text's beginning counts (the header `X-Input-Truncated` then says so), and which is charged as a "
        "batch of them; the others cost nothing. When that is refused or fails, nothing is kept. With "
        "`dry_run=true` nothing is kept or charged, and `quote` says what it would cost. "
        f"Needs the scope `{audience.WRITE}`, and `batch` where a text is new.",
        parameters=[
            OpenApiParameter(
                "dry_run",
                {"type": "string", "enum": ["true", "false"], "default": "false"},
                OpenApiParameter.QUERY,
                description="Only say what the call would do and cost.",
            ),
            CUT,
        ],
        request=ref("ItemsRequest"),
        answer=ref("ItemsUpserted"),
        kinds=(*_BODY, *_CHARGED, ErrorKind.CONFLICT),
        examples=_example(
            {
                "items": [
                    {
                        "external_id": "book-1",
                        "title": "A brief walk through deep time",
                        "description": "How rocks tell the story of the Earth.",
                        "categories": ["science"],
                    }
                ]
            }
        ),
    ),
)
class Items(audience.ItemsView):
    """Declared, not served."""


@extend_schema_view(
    get=describe(
        id="getItem",
        tag=_TAG,
        summary="One item",
        description=_READ,
        answer=ref("Item"),
        kinds=(ErrorKind.INVALID_INPUT,),
        parameters=[_EXTERNAL_ID],
    ),
    delete=describe(
        id="deleteItem",
        tag=_TAG,
        summary="Forget an item",
        description=f"And all likes of it. {_WRITE}",
        answer=ref("Deleted"),
        kinds=(ErrorKind.INVALID_INPUT,),
        parameters=[_EXTERNAL_ID],
    ),
)
class Item(audience.ItemView):
    """Declared, not served."""


@extend_schema_view(
    post=describe(
        id="addLikes",
        tag=_TAG,
        summary="Add likes",
        description="All of them or none; one that is known stays as it is. A user or item that does not exist is an error that "
        f"names it. {_WRITE}",
        request=ref("LikesRequest"),
        answer=ref("LikesAdded"),
        kinds=_BODY,
        examples=_example({"likes": [{"user_id": "user-17", "item_id": "book-1"}]}),
    )
)
class Likes(audience.LikesView):
    """Declared, not served."""


v2 = [
    path("users", Users.as_view()),
    path("users/<str:external_id>", User.as_view()),
    path("users/<str:external_id>/likes", UserLikes.as_view()),
    path("users/<str:external_id>/likes/<str:item_id>", UserLike.as_view()),
    path("users/<str:external_id>/recommendations", Recommendations.as_view()),
    path("items", Items.as_view()),
    path("items/<str:external_id>", Item.as_view()),
    path("likes", Likes.as_view()),
]
