"""Relay's global ids, and the interface of everything that has one."""

import base64
from typing import Any, Final

import graphene

from mlplatform.lib.errors import ErrorKind, PlatformError

_MAX_CHARS: Final = 512


class Node(graphene.Interface):
    """Something with a global id, under which `node(id)` finds it again."""

    id = graphene.ID(required=True, description="Opaque; unique over all types.")


def encode(type_name: str, key: object) -> str:
    """The global id of the object of this type that has this key."""
    return base64.urlsafe_b64encode(f"{type_name}:{key}".encode()).decode().rstrip("=")


def decode(global_id: str) -> tuple[str, str]:
    """Type name and key. Raises the NOT_FOUND of :func:`no_such_node` for what was never an id."""
    if len(global_id) > _MAX_CHARS:
        raise no_such_node()
    try:
        text = base64.b64decode(global_id + "=" * (-len(global_id) % 4), altchars=b"-_", validate=True).decode()
    except ValueError as error:
        raise no_such_node() from error
    type_name, separator, key = text.partition(":")
    if not separator or not key or "\x00" in key:
        raise no_such_node()
    return type_name, key


def row_number(key: str) -> int:
    """The primary key in a global id. Raises as :func:`no_such_node` for what can be none."""
    if not key.isascii() or not key.isdigit() or len(key) > 18:
        raise no_such_node()
    return int(key)


def found(row: Any) -> Any:
    """The row. Raises the one answer for nothing, and for what belongs to another tenant."""
    if row is None:
        raise no_such_node()
    return row


def no_such_node() -> PlatformError:
    """The one answer for ids that name nothing, or nothing that this key may see."""
    return PlatformError(ErrorKind.NOT_FOUND, "There is nothing with this id that this key may see.", field="id")
