"""One thing that staff should look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class Link:
    """A further page of a notice, for those who have the permission to see it."""

    title: str
    address: str
    permission: str


@dataclass(frozen=True, slots=True)
class Notice:
    """``permission`` is what a person needs to see it; empty where all staff may."""

    tone: Literal["danger", "warning", "info"]
    icon: str
    text: str
    link: str = ""
    permission: str = ""
    more: tuple[Link, ...] = ()


def listed(found: Sequence[str]) -> str:
    """The first three, and how many more there are."""
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return ", ".join(found[:_NAMED]) + more
