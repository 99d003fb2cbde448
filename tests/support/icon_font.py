"""``python -m tests.support.icon_font``: makes the admin's icon font anew, of the icons that are used and of common ones.

Icons are ligatures: the text ``key_off`` becomes one glyph. Unfold's font has four thousand of them in 290 kB.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import unfold
from fontTools.subset import Options, Subsetter, save_font
from fontTools.ttLib import TTFont

ROOT: Final = Path(__file__).resolve().parents[2]
WHOLE: Final = Path(unfold.__file__).parent / "static/unfold/fonts/material-symbols/Material-Symbols-Outlined.woff2"
OURS: Final = ROOT / "mlplatform/static/platform/icons/icons.woff2"
_UNFOLD: Final = Path(unfold.__file__).parent
_TEXT: Final = re.compile(r"[a-z][a-z0-9_]{2,}")
COMMON: Final = Path(__file__).with_name("icon_names.txt").read_text().split()


def used() -> set[str]:
    """Icons that pages may show: every name of one that stands in a template, or as a text in the Python of the admin."""
    known = set(ligatures(WHOLE))
    return {name for name in _words() if name in known}


@cache
def ligatures(file: Path) -> dict[str, str]:
    """The glyph of every icon of a font, by the icon's name."""
    font = TTFont(file)
    letters = {glyph: chr(code) for code, glyph in font.getBestCmap().items()}
    found: dict[str, str] = {}
    for lookup in font["GSUB"].table.LookupList.Lookup:
        for table in lookup.SubTable:
            sets: dict[str, Any] = getattr(getattr(table, "ExtSubTable", table), "ligatures", {})
            for first, entries in sets.items():
                for entry in entries:
                    name = "".join(letters.get(glyph, "?") for glyph in (first, *entry.Component))
                    found[name] = entry.LigGlyph
    return found


def make() -> None:
    """Write the font."""
    glyphs = ligatures(WHOLE)
    names = used() | set(COMMON)
    font = TTFont(WHOLE)
    options = Options()
    options.flavor = "woff2"
    options.layout_features = ["*"]
    options.layout_closure = False  # the letters would bring every icon along
    subsetter = Subsetter(options)
    letters = [ord(letter) for letter in "abcdefghijklmnopqrstuvwxyz0123456789_ "]
    subsetter.populate(unicodes=letters, glyphs=[glyphs[name] for name in names if name in glyphs])
    subsetter.subset(font)
    save_font(font, str(OURS), options)
    print(f"{OURS}: {len(ligatures(OURS))} icons, {OURS.stat().st_size} bytes")


def _words() -> Iterator[str]:
    for file in (
        *ROOT.glob("templates/admin/**/*.html"),
        *ROOT.glob("templates/unfold/**/*.html"),
        *_UNFOLD.glob("templates/**/*.html"),
    ):
        yield from _TEXT.findall(file.read_text())
    folders = (
        "mlplatform/admin*",
        "mlplatform/attention*",
        "mlplatform/*_page",
        "tenants/admin",
        "billing/admin",
        "inference/admin",
    )
    files = {file for folder in folders for at in (f"{folder}.py", f"{folder}/**/*.py") for file in ROOT.glob(at)}
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and _TEXT.fullmatch(node.value):
                yield node.value


if __name__ == "__main__":
    make()
