"""What a tenant sends of its audience, read into frozen entries: known fields, right types, lengths, and which characters."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from inference.models.audience import MAX_ID
from inference.recommendations import messages
from inference.recommendations.messages import ID_PATTERN, EndUsersRequest, ItemsRequest, LikesRequest
from mlplatform.lib.errors import invalid
from tenants.http.messages import read

_ID: Final = re.compile(ID_PATTERN)
_ID_TEXT: Final = (
    f"An id has 1 to {MAX_ID} characters: it begins with a letter or digit (a–z, A–Z, 0–9), then also . _ : @ + | ~ = , -."
    " No other characters fit its address."
)


@dataclass(frozen=True, slots=True)
class UserEntry:
    """An end user as the tenant has it."""

    external_id: str
    name: str = ""
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ItemEntry:
    """An item as the tenant has it; ``path`` names it in errors, such as ``items[3].``."""

    external_id: str
    title: str
    description: str = ""
    categories: tuple[str, ...] = ()
    path: str = ""


@dataclass(frozen=True, slots=True)
class LikeEntry:
    """A user likes an item, both by the tenant's ids."""

    user_id: str
    item_id: str
    path: str = ""


def users(body: Mapping[str, Any]) -> list[UserEntry]:
    """The users of an :class:`EndUsersRequest`. Raises INVALID_INPUT that names the field."""
    found = [_user(said, f"users[{index}].") for index, said in enumerate(read(body, EndUsersRequest).users)]
    _unique([entry.external_id for entry in found], "users", "external_id")
    return found


def items(body: Mapping[str, Any]) -> list[ItemEntry]:
    """The items of an :class:`ItemsRequest`. Raises INVALID_INPUT that names the field."""
    found = [_item(said, f"items[{index}].") for index, said in enumerate(read(body, ItemsRequest).items)]
    _unique([entry.external_id for entry in found], "items", "external_id")
    return found


def likes(body: Mapping[str, Any]) -> list[LikeEntry]:
    """The likes of a :class:`LikesRequest`; the same like twice is one. Raises INVALID_INPUT that names the field."""
    return [_like(said, f"likes[{index}].") for index, said in enumerate(read(body, LikesRequest).likes)]


def external_id(value: Any, *, field: str) -> str:
    """A tenant's own id. Raises INVALID_INPUT that says which characters it may have."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise invalid(field, _ID_TEXT)
    return value


def _user(said: messages.EndUserEntry, path: str) -> UserEntry:
    return UserEntry(
        external_id(said.external_id, field=f"{path}external_id"),
        _line(said.name, field=f"{path}name"),
        _categories(said.preferences.categories, field=f"{path}preferences.categories"),
    )


def _item(said: messages.ItemEntry, path: str) -> ItemEntry:
    if not said.title.strip():
        raise invalid(f"{path}title", "The title is empty; recommendations are made from it.")
    return ItemEntry(
        external_id(said.external_id, field=f"{path}external_id"),
        _line(said.title, field=f"{path}title"),
        _text(said.description, field=f"{path}description"),
        _categories(said.categories, field=f"{path}categories"),
        path,
    )


def _like(said: messages.LikeEntry, path: str) -> LikeEntry:
    return LikeEntry(
        external_id(said.user_id, field=f"{path}user_id"), external_id(said.item_id, field=f"{path}item_id"), path
    )


def _unique(ids: Sequence[str], name: str, field: str) -> None:
    """Of two entries for one id it would not be clear which shall be kept."""
    first: dict[str, int] = {}
    for index, one in enumerate(ids):
        if first.setdefault(one, index) != index:
            raise invalid(f"{name}[{index}].{field}", f"The id {one!r} stands in {name}[{first[one]}] already.")


def _line(value: str, *, field: str) -> str:
    """One line of text. NUL, lone surrogates, line breaks and other invisible characters are not printable."""
    if not value.isprintable():
        raise invalid(field, "The text has a line break or another character that cannot be printed.")
    return value


def _text(value: str, *, field: str) -> str:
    if "\x00" in value:
        raise invalid(field, "The text has a NUL character.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise invalid(field, f"The text has a lone surrogate at character {error.start}.") from error
    return value


def _categories(names: Sequence[str], *, field: str) -> tuple[str, ...]:
    """Names without repetition, in their order."""
    found: dict[str, None] = {}
    for index, name in enumerate(names):
        text = _line(name, field=f"{field}[{index}]").strip()
        if not text:
            raise invalid(f"{field}[{index}]", "The name of a category is empty.")
        found[text] = None
    return tuple(found)
