"""``make check``: code and documents name the thing that acts, and one thing by one word.

A sentence with *nobody* or *whoever* for its subject does not say whether it is about a tenant, a call, a process or a
reader; and what had several names has one since the rooms of ``inference/`` were put in order.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
_ROOMS: Final = ("mlplatform", "tenants", "billing", "inference", "templates", "docs", "bench")
_PAGES: Final = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "Makefile", "Procfile", "pyproject.toml")
_SUFFIXES: Final = frozenset({".py", ".lua", ".md", ".html", ".txt", ".proto", ".graphql", ".toml"})
_EXEMPT: Final = ("bench/RESULTS.md", "bench/reference/", "bench/.peers/", "inference/grpc/generated/")
"""What was measured as it was said then, and what others wrote."""
_WHO: Final = "name the thing: a tenant, a call, a caller, a process, a reader"
SAY: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        (
            "whoever", "whomever", "nobody", "somebody", "someone", "anybody", "anyone", "everybody", "no one",
            "who waits", "who waited",
        ),
        _WHO,
    ),
    "endings": "deprecations",
    "giving_back": "late releases",
    "take_bill": "claim_charge",
    "may_know": "is_visible_to",
    "sayable": "json_ready",
    "nothingtosay": "EmptyRequest",
}  # fmt: skip
"""Words that are not used, and what to write in their place."""

_WORDS: Final = re.compile(
    r"\b(" + "|".join(re.escape(word).replace(r"\ ", r"\s+") for word in SAY) + r")\b", re.IGNORECASE
)


def found_in(text: str) -> Iterator[tuple[int, str]]:
    """The line, counted from 1, and the word, of each that is not used."""
    for match in _WORDS.finditer(text):
        yield text.count("\n", 0, match.start()) + 1, " ".join(match[1].lower().split())


def files() -> Iterator[Path]:
    """Code and documents, without what the tests hold as it is on the wire or was once said."""
    yield from (ROOT / page for page in _PAGES)
    for room in _ROOMS:
        for path in sorted((ROOT / room).rglob("*")):
            name = path.relative_to(ROOT).as_posix()
            if path.suffix in _SUFFIXES and path.is_file() and not name.startswith(_EXEMPT):
                yield path


def main() -> int:
    """Name each place; return 1 where there is one."""
    wrong = 0
    for path in files():
        for line, word in found_in(path.read_text()):
            print(f"{path.relative_to(ROOT)}:{line}: {word!r}: {SAY[word]}")
            wrong += 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
