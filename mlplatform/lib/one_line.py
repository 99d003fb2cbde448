"""Names that customers choose, in texts of the platform."""

import unicodedata
from typing import Final

_CONTROLS: Final = frozenset({"Cc", "Cs"})
_TURNS: Final = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
"""Marks that turn the direction of what stands behind them."""


def one_line(text: str) -> str:
    """The text without line breaks, controls and turns of direction, so that it can neither begin a paragraph of its own nor turn
    around what stands behind it."""
    plain = "".join(" " if char.isspace() else char for char in text)
    return " ".join("".join(char for char in plain if not _acts(char)).split())


def _acts(char: str) -> bool:
    return unicodedata.category(char) in _CONTROLS or unicodedata.bidirectional(char) in _TURNS
