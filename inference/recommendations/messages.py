"""What calls say of end users, items and likes. ``entries.py`` adds what no JSON Schema can say."""

from typing import Annotated, Final, TypeAlias

from django.conf import settings
from msgspec import Meta

from inference.models.audience import MAX_CATEGORIES, MAX_CATEGORY, MAX_DESCRIPTION, MAX_NAME, MAX_TITLE
from tenants.http.messages import Message

ID_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9._:@+|~=,-]{0,127}"
"""Ids stand in addresses, so neither slashes nor what a path would have to escape, nor two spellings of one id."""

MAX_USERS_A_CALL: Final = 1_000
MAX_LIKES_A_CALL: Final = 1_000

# The pattern stands in the schema alone: entries.py refuses an id in words, and msgspec's `$` lets a last line break pass.
Id: TypeAlias = Annotated[str, Meta(extra_json_schema={"pattern": f"^{ID_PATTERN}$"}, examples=["user-17"])]
_Category: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_CATEGORY)]
Categories: TypeAlias = Annotated[tuple[_Category, ...], Meta(max_length=MAX_CATEGORIES)]
Name: TypeAlias = Annotated[str, Meta(max_length=MAX_NAME, description="One line.")]
Title: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_TITLE, description="One line.")]
Description: TypeAlias = Annotated[str, Meta(max_length=MAX_DESCRIPTION)]


class Preferences(Message, frozen=True):
    """What an end user says that it likes."""

    categories: Categories = ()


class EndUserEntry(Message, frozen=True):
    """An end user."""

    external_id: Id
    name: Name = ""
    preferences: Preferences = Preferences()


class ItemEntry(Message, frozen=True):
    """An item."""

    external_id: Id
    title: Title
    description: Description = ""
    categories: Categories = ()


class LikeEntry(Message, frozen=True):
    """A user likes an item, both by the tenant's ids."""

    user_id: Id
    item_id: Id


class EndUsersRequest(Message, frozen=True):
    """End users to add or replace."""

    users: Annotated[tuple[EndUserEntry, ...], Meta(min_length=1, max_length=MAX_USERS_A_CALL)]


class ItemsRequest(Message, frozen=True):
    """Items to add or replace."""

    items: Annotated[tuple[ItemEntry, ...], Meta(min_length=1, max_length=settings.MAX_BATCH_REQUESTS)]


class LikesRequest(Message, frozen=True):
    """Likes to add."""

    likes: Annotated[tuple[LikeEntry, ...], Meta(min_length=1, max_length=MAX_LIKES_A_CALL)]
