"""What a tenant sends of its audience, read into frozen entries: known fields, right types, lengths, and which characters."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from inference.api_versions import fields
from inference.models.audience import (
    MAX_CATEGORIES,
    MAX_CATEGORY,
    MAX_DESCRIPTION,
    MAX_ID,
    MAX_NAME,
    MAX_TITLE,
)
from mlplatform.lib.errors import invalid

ID_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9._:@+|~=,-]{0,127}"
"""Ids stand in addresses, so neither slashes nor what a path would have to escape, nor two spellings of one id."""

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
    body = fields.only(body, ("external_id", "name", "preferences"), path=path)
    preferences = body.get("preferences", {})
    if not isinstance(preferences, dict):
        raise invalid(f"{path}preferences", "The preferences are an object with categories.")
    preferences = fields.only(preferences, ("categories",), path=f"{path}preferences.")
    return UserEntry(
        external_id(fields.required(body, "external_id", path=path), field=f"{path}external_id"),
        _line(body.get("name", ""), field=f"{path}name", most=MAX_NAME),
        _categories(preferences.get("categories", []), field=f"{path}preferences.categories"),
    )


def _item(body: Mapping[str, Any], path: str) -> ItemEntry:
    body = fields.only(body, ("external_id", "title", "description", "categories"), path=path)
    title = _line(fields.required(body, "title", path=path), field=f"{path}title", most=MAX_TITLE)
    if not title.strip():
        raise invalid(f"{path}title", "The title is empty; recommendations are made from it.")
    return ItemEntry(
        external_id(fields.required(body, "external_id", path=path), field=f"{path}external_id"),
        title,
        _text(body.get("description", ""), field=f"{path}description", most=MAX_DESCRIPTION),
        _categories(body.get("categories", []), field=f"{path}categories"),
        path,
    )


def _like(body: Mapping[str, Any], path: str) -> LikeEntry:
    body = fields.only(body, ("user_id", "item_id"), path=path)
    user_id, item_id = (
        external_id(fields.required(body, name, path=path), field=f"{path}{name}") for name in ("user_id", "item_id")
    )
    return LikeEntry(user_id, item_id, path)


def _entries(
    body: Mapping[str, Any], name: str, at_most: int, read: Callable[[Mapping[str, Any], str], Entry]
) -> list[Entry]:
    body = fields.only(body, (name,))
    values = fields.required(body, name)
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


def _line(value: Any, *, field: str, most: int) -> str:
    """One line of text. NUL, lone surrogates, line breaks and other invisible characters are not printable."""
    text = _text(value, field=field, most=most)
    if not text.isprintable():
        raise invalid(field, "The text has a line break or another character that cannot be printed.")
    return text


def _text(value: Any, *, field: str, most: int) -> str:
    if not isinstance(value, str):
        raise invalid(field, "This is text.")
    if len(value) > most:
        raise invalid(field, f"The text has {len(value):,} characters; at most {most:,} are kept.")
    if "\x00" in value:
        raise invalid(field, "The text has a NUL character.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise invalid(field, f"The text has a lone surrogate at character {error.start}.") from error
    return value


def _categories(value: Any, *, field: str) -> tuple[str, ...]:
    """Names without repetition, in their order."""
    if not isinstance(value, list):
        raise invalid(field, "The categories are a list of texts.")
    if len(value) > MAX_CATEGORIES:
        raise invalid(field, f"There are at most {MAX_CATEGORIES} categories, not {len(value):,}.")
    found: dict[str, None] = {}
    for index, name in enumerate(value):
        place = f"{field}[{index}]"
        text = _line(name, field=place, most=MAX_CATEGORY).strip()
        if not text:
            raise invalid(place, "The name of a category is empty.")
        found[text] = None
    return tuple(found)
