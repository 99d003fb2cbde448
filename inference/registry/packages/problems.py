"""What is wrong with a package: always a place in it, and a reason that tells what to do."""

import re
from typing import Final

_HARMLESS: Final = re.compile(r"[A-Za-z0-9._/ -]{1,200}")
MAX_REASON: Final = 400


class PackageError(Exception):
    """A package is refused. ``place`` is a file, or a field of the card such as ``model.toml: input.shape``."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}")
        self.place = place
        self.reason = reason[:MAX_REASON]


def named(value: object) -> str:
    """A value of an untrusted file as it may stand in a message: short, on one line, unmistakably quoted."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def placed(name: str) -> str:
    """The name of a file as a place: as it is, unless it could mislead."""
    return name if _HARMLESS.fullmatch(name) else named(name)
