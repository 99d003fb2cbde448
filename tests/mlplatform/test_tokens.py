"""The tokens of the shared look: readable in both schemes, and the only place that names a colour."""

import re
from pathlib import Path

import pytest
from django.conf import settings

STATIC = Path(__file__).resolve().parents[2] / "mlplatform" / "static"
TOKENS = (STATIC / "platform" / "tokens.css").read_text()
SHEETS = [
    "platform/ui.css",
    "platform/charts.css",
    "platform/admin.css",
    "platform/charts.css",
    "docs/docs.css",
    "graphiql/page.css",
]
TEXTS = ("ink", "soft", "link", "good", "wait", "bad")
_COLOUR = re.compile(r"#[0-9a-f]{3,8}\b|\b(?:rgb|rgba|hsl|oklch|oklab)\(", re.IGNORECASE)


def declared(selector: str) -> dict[str, str]:
    """The variables of all blocks with this selector."""
    blocks = re.findall(rf"(?m)^\s*{re.escape(selector)} \{{([^}}]*)\}}", TOKENS)
    return {name: value for block in blocks for name, value in re.findall(r"--([\w-]+):\s*([^;]+);", block)}


LIGHT = declared(":root")
DARK = LIGHT | declared(":root.dark")


def colour(scheme: dict[str, str], name: str) -> tuple[float, float, float]:
    value = scheme[name]
    while value.startswith("var(--"):
        value = scheme[value[6:-1]]
    digits = value.removeprefix("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    red, green, blue = (int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4))
    return red, green, blue


def luminance(parts: tuple[float, float, float]) -> float:
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(scheme: dict[str, str], text: str, ground: str) -> float:
    """The ratio of WCAG 2."""
    lighter, darker = sorted((luminance(colour(scheme, text)), luminance(colour(scheme, ground))), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
def test_every_text_can_be_read_on_every_ground(scheme: dict[str, str]) -> None:
    pairs = [(text, ground) for text in TEXTS for ground in ("paper", "panel")]
    pairs += [("ink", "gone"), ("ink", "come"), ("on-accent", "accent")]
    low = {pair: round(contrast(scheme, *pair), 2) for pair in pairs if contrast(scheme, *pair) < 4.5}
    assert low == {}


def test_the_dark_scheme_is_one() -> None:
    chosen, followed = declared(":root.dark"), declared(':root[data-scheme="system"]')
    assert chosen == followed
    assert len(chosen) >= 13


@pytest.mark.parametrize("sheet", SHEETS)
def test_no_other_sheet_names_a_colour(sheet: str) -> None:
    assert _COLOUR.findall((STATIC / sheet).read_text()) == []


@pytest.mark.parametrize("sheet", SHEETS)
def test_every_variable_of_a_sheet_is_declared(sheet: str) -> None:
    css = (STATIC / sheet).read_text()
    own = set(re.findall(r"(--[\w-]+):", css + (STATIC / "platform" / "admin.css").read_text()))
    used = set(re.findall(r"var\((--[\w-]+)", css))
    # Of Unfold's own the palette is declared in the page, and the months of a timeline by its template.
    known = own | {f"--{name}" for name in LIGHT} | {"--months"}
    assert {name for name in used - known if not name.startswith("--color-")} == set()


def test_unfolds_colours_are_aliases_of_the_palette() -> None:
    for shades in settings.UNFOLD["COLORS"].values():
        assert len(shades) == 11
        for value in shades.values():
            assert value.removeprefix("var(--").removesuffix(")") in LIGHT
