"""What a call says of one end user, item or like. ``entries.py`` adds what no JSON Schema can say."""

from typing import Annotated, Final, TypeAlias

from msgspec import Meta

from inference.models.audience import MAX_CATEGORIES, MAX_CATEGORY, MAX_DESCRIPTION, MAX_NAME, MAX_TITLE
from tenants.http.messages import Message

ID_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9._:@+|~=,-]{0,127}"
"""Ids stand in addresses, so neither slashes nor what a path would have to escape, nor two spellings of one id."""

# The pattern stands in the schema alone: entries.py refuses an id in words, and msgspec's `$` lets a last line break pass.
_Id: TypeAlias = Annotated[str, Meta(extra_json_schema={"pattern": f"^{ID_PATTERN}$"}, examples=["user-17"])]
_Category: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_CATEGORY)]
_Categories: TypeAlias = Annotated[tuple[_Category, ...], Meta(max_length=MAX_CATEGORIES)]


class Preferences(Message, frozen=True):
    """What an end user says that it likes."""

    categories: _Categories = ()


class EndUserEntry(Message, frozen=True):
    """An end user."""

    external_id: _Id
    name: Annotated[str, Meta(max_length=MAX_NAME, description="One line.")] = ""
    preferences: Preferences = Preferences()


class ItemEntry(Message, frozen=True):
    """An item."""

    external_id: _Id
    title: Annotated[str, Meta(min_length=1, max_length=MAX_TITLE, description="One line.")]
    description: Annotated[str, Meta(max_length=MAX_DESCRIPTION)] = ""
    categories: _Categories = ()


class LikeEntry(Message, frozen=True):
    """A user likes an item, both by the tenant's ids."""

    user_id: _Id
    item_id: _Id
