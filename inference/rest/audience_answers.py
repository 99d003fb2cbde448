"""What calls about a tenant's audience answer."""

from typing import Annotated, TypeAlias

from msgspec import Meta

from inference.recommendations.messages import Categories, Description, Id, Name, Title
from tenants.http.answers import Answer, Count, Moment, Share
from tenants.http.json_schemas import one_of

_Cursor: TypeAlias = Annotated[str | None, Meta(description="Ask for the next page with it; null on the last.")]


class UserPreferences(Answer, frozen=True):
    """What an end user says that it likes."""

    categories: Categories


class EndUser(Answer, frozen=True):
    """An end user of the tenant."""

    external_id: Id
    name: Name
    preferences: UserPreferences
    created_at: Moment
    updated_at: Moment


class EndUsers(Answer, frozen=True):
    """A page of end users."""

    users: list[EndUser]
    next_cursor: _Cursor


class Item(Answer, frozen=True):
    """An item of the tenant."""

    external_id: Id
    title: Title
    description: Description
    categories: Categories
    embedded_by: Annotated[
        str | None,
        Meta(description="The model version that turned its text into a vector.", examples=["minilm@1.0.0"]),
    ]
    created_at: Moment
    updated_at: Moment


class Items(Answer, frozen=True):
    """A page of items."""

    items: list[Item]
    next_cursor: _Cursor


class Like(Answer, frozen=True):
    """An item that an end user likes."""

    item_id: Id
    title: Title
    at: Moment


class Likes(Answer, frozen=True):
    """A page of likes."""

    likes: list[Like]
    next_cursor: _Cursor


class Upserted(Answer, frozen=True):
    """How many were new, and how many there before."""

    created: Count
    updated: Count


class EmbeddingUsage(Answer, frozen=True):
    """What a call took."""

    units: Annotated[Count, Meta(description="What was charged.")]
    embedded_items: Annotated[Count, Meta(description="Items whose text was turned into a vector in this call.")]


class ItemsQuote(Answer, frozen=True):
    """By the prices of now."""

    embedding_units: Annotated[
        Count,
        Meta(
            description="The most that the call costs: the fee and each new text; less where the cache has its vector."
        ),
    ]
    recommendation_units: Annotated[
        Count | None,
        Meta(
            description="The most that a recommendation for one user costs with the items that are there then; null while "
            "no recommender is live."
        ),
    ]


class ItemsUpserted(Upserted, frozen=True):
    """How many items were new, and how many there before; what it took, and what it and a recommendation cost."""

    usage: EmbeddingUsage
    quote: ItemsQuote


class LikesAdded(Answer, frozen=True):
    """How many likes were new, and how many there before."""

    created: Count
    existing: Count


class Deleted(Answer, frozen=True):
    """It is gone."""

    deleted: bool


class RecommendedItem(Answer, frozen=True):
    """An item that a user may like."""

    item_id: Id
    title: Title
    score: Annotated[
        Share | None, Meta(description="How well it fits; null where nothing is known of the user's taste.")
    ]
    categories: Categories


class Recommendations(Answer, frozen=True):
    """What a user may like."""

    user_id: Id
    items: Annotated[list[RecommendedItem], Meta(description="The best first.")]
    basis: Annotated[
        str,
        one_of(["likes", "preferences", "newest"]),
        Meta(
            description="Where the taste comes from: what the user likes, else items of preferred categories; else the "
            "newest items are listed, unscored and free."
        ),
    ]
    model: str
    model_version: str
    cached: bool
    usage: EmbeddingUsage
