"""Reading a table of a card key by key, so that each error names its field and a misspelt key is one too."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from inference.registry.packages.problems import PackageError, named

CARD_FILE: Final = "model.toml"
_NEVER_IN_TEXT: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class Table:
    """One table of the card. Every key that is read is ticked off; :meth:`done` refuses what is left."""

    def __init__(self, values: Mapping[str, Any], path: str = "") -> None:
        self._values = values
        self._path = path
        self._read: set[str] = set()

    def place(self, key: str) -> str:
        """How errors call a key: ``model.toml: input.shape``."""
        return f"{CARD_FILE}: {self._path}{key}"

    def has(self, key: str) -> bool:
        return key in self._values

    def raw(self, key: str) -> Any:
        """The value as it is, or None where it is absent."""
        self._read.add(key)
        return self._values.get(key)

    def refuse(self, key: str, reason: str) -> PackageError:
        return PackageError(self.place(key), reason)

    def text(self, key: str, *, most: int, default: str | None = None, pattern: str = "", like: str = "") -> str:
        """A text of at most ``most`` characters; required without a default. ``like`` is an example for the message."""
        value = self.raw(key)
        if value is None:
            if default is None:
                raise self.refuse(key, f"Missing; write a text{f' such as {like}' if like else ''}.")
            return default
        if not isinstance(value, str) or not value.strip():
            raise self.refuse(key, f"Write a text that is not empty, not {named(value)}.")
        if _NEVER_IN_TEXT.search(value):
            raise self.refuse(key, "The text has a control character, which cannot be stored or shown.")
        if len(value) > most:
            raise self.refuse(key, f"The text has {len(value):,} characters; at most {most:,} fit.")
        if pattern and not re.fullmatch(pattern, value):
            raise self.refuse(key, f"{named(value)} is not acceptable; write {like}.")
        return value

    def choice(self, key: str, choices: Sequence[str], *, default: str | None = None) -> str:
        value = self.raw(key)
        if value is None and default is not None:
            return default
        if value not in choices:
            what = "Missing" if value is None else f"{named(value)} is unknown"
            raise self.refuse(key, f"{what}; choose one of {', '.join(choices)}.")
        return str(value)

    def integer(self, key: str, *, least: int, most: int, default: int | None = None) -> int:
        value = self.raw(key)
        if value is None and default is not None:
            return default
        if type(value) is not int or not least <= value <= most:
            what = "Missing" if value is None else f"{named(value)} does not fit"
            raise self.refuse(key, f"{what}; write a whole number from {least:,} to {most:,}.")
        return value

    def number(self, key: str, *, least: float = -math.inf, most: float = math.inf) -> float | None:
        """A finite number within the bounds, or None where it is absent."""
        value = self.raw(key)
        if value is None:
            return None
        if type(value) not in {int, float} or not math.isfinite(value) or not least <= value <= most:
            bounds = "" if math.isinf(least) else f" from {least:g} to {most:g}"
            raise self.refuse(key, f"{named(value)} does not fit; write a number{bounds}.")
        return float(value)

    def table(self, key: str) -> "Table":
        """A table, empty where it is absent."""
        value = self.raw(key)
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise self.refuse(key, f"Write a table, [{self._path}{key}].")
        return Table(value, f"{self._path}{key}.")

    def done(self) -> None:
        """Raises PackageError for the first key that nobody read: most often a typing error."""
        for key in self._values:
            if key not in self._read:
                raise self.refuse(key, f"Unknown; known here are {', '.join(sorted(self._read))}.")
