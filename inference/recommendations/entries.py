"""What a tenant sends of its audience, read into frozen entries: known fields, right types, lengths, and which characters."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from inference.models.audience import MAX_ID
from inference.recommendations import messages
from inference.recommendations.messages import ID_PATTERN
from mlplatform.lib.errors import invalid
from tenants.http.messages import only, read, required

_ID: Final = re.compile(ID_PATTERN)
_ID_TEXT: Final = (
    f"An id has 1 to {MAX_ID} characters: it begins with a letter or digit (a–z, A–Z, 0–9), then also . _ : @ + | ~ = , -."
    " No other characters fit its address."
)

Entry = TypeVar("Entry")


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


def users(body: Mapping[str, Any], *, at_most: int) -> list[UserEntry]:
    """``{"users": [{"external_id", "name", "preferences": {"categories"}}, …]}``. Raises INVALID_INPUT that names the field."""
    found = _entries(body, "users", at_most, _user)
    _unique([entry.external_id for entry in found], "users", "external_id")
    return found


def items(body: Mapping[str, Any], *, at_most: int) -> list[ItemEntry]:
    """``{"items": [{"external_id", "title", "description", "categories"}, …]}``. Raises INVALID_INPUT that names the field."""
    found = _entries(body, "items", at_most, _item)
    _unique([entry.external_id for entry in found], "items", "external_id")
    return found


def likes(body: Mapping[str, Any], *, at_most: int) -> list[LikeEntry]:
    """``{"likes": [{"user_id", "item_id"}, …]}``; the same like twice is one. Raises INVALID_INPUT that names the field."""
    return _entries(body, "likes", at_most, _like)


def external_id(value: Any, *, field: str) -> str:
    """A tenant's own id. Raises INVALID_INPUT that says which characters it may have."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise invalid(field, _ID_TEXT)
    return value


def _user(body: Mapping[str, Any], path: str) -> UserEntry:
    said = read(body, messages.EndUserEntry, path=path)
    return UserEntry(
        external_id(said.external_id, field=f"{path}external_id"),
        _line(said.name, field=f"{path}name"),
        _categories(said.preferences.categories, field=f"{path}preferences.categories"),
    )


def _item(body: Mapping[str, Any], path: str) -> ItemEntry:
    said = read(body, messages.ItemEntry, path=path)
    if not said.title.strip():
        raise invalid(f"{path}title", "The title is empty; recommendations are made from it.")
    return ItemEntry(
        external_id(said.external_id, field=f"{path}external_id"),
        _line(said.title, field=f"{path}title"),
        _text(said.description, field=f"{path}description"),
        _categories(said.categories, field=f"{path}categories"),
        path,
    )


def _like(body: Mapping[str, Any], path: str) -> LikeEntry:
    said = read(body, messages.LikeEntry, path=path)
    return LikeEntry(
        external_id(said.user_id, field=f"{path}user_id"), external_id(said.item_id, field=f"{path}item_id"), path
    )


def _entries(
    body: Mapping[str, Any], name: str, at_most: int, read: Callable[[Mapping[str, Any], str], Entry]
) -> list[Entry]:
    values = required(only(body, (name,)), name)
    if not isinstance(values, list) or not values:
        raise invalid(name, f"The {name} are a list of at least one object.")
    if len(values) > at_most:
        raise invalid(name, f"A call takes at most {at_most:,} {name}, not {len(values):,}.")
    found = []
    for index, value in enumerate(values):
        if not isinstance(value, dict):
            raise invalid(f"{name}[{index}]", f"Each of the {name} is an object.")
        found.append(read(value, f"{name}[{index}]."))
    return found


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
