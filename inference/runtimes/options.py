"""The options of a runtime: the table `[options]` of a model's card, read key by key so that no typo is passed over."""

from collections.abc import Mapping, Sequence
from typing import Any

from inference.runtimes.protocol import LoadError


class Options:
    """Reads each option once; :meth:`done` refuses what is left."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._left = dict(values)
        self._known: list[str] = []

    def choice(self, name: str, among: Sequence[str], *, default: str) -> str:
        """One of some words. Raises LoadError."""
        value = self._take(name, default)
        if value not in among:
            raise LoadError(f"The option {name} is one of {', '.join(map(repr, among))}, not {value!r}.")
        return str(value)

    def integer(self, name: str, *, least: int, most: int, default: int) -> int:
        """A whole number. Raises LoadError."""
        value = self._take(name, default)
        if type(value) is not int or not least <= value <= most:
            raise LoadError(f"The option {name} is a whole number from {least:,} to {most:,}, not {value!r}.")
        return value

    def truth(self, name: str, *, default: bool) -> bool:
        """True or false. Raises LoadError."""
        value = self._take(name, default)
        if type(value) is not bool:
            raise LoadError(f"The option {name} is true or false, not {value!r}.")
        return value

    def numbers(self, name: str, *, length: int, default: float) -> list[float]:
        """As many numbers as the input has channels. Raises LoadError."""
        value = self._take(name, [default] * length)
        if not isinstance(value, list) or len(value) != length or any(type(one) not in {int, float} for one in value):
            raise LoadError(f"The option {name} is a list of {length} numbers, one for each channel, not {value!r}.")
        return [float(one) for one in value]

    def done(self) -> None:
        """Raises LoadError for an option that the runtime does not have."""
        for name in self._left:
            raise LoadError(f"There is no option {name!r} here; there are {', '.join(self._known) or 'none'}.")

    def _take(self, name: str, default: Any) -> Any:
        self._known.append(name)
        return self._left.pop(name, default)
