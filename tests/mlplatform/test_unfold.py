"""What the product corrects of Unfold's templates still fits the installed Unfold."""

import hashlib
from pathlib import Path

import pytest
import unfold
from django.template.loader import get_template

from mlplatform.template_loaders import CORRECTIONS
from tests.support import icon_font

THEIRS = Path(unfold.__file__).parent / "templates"
OURS = Path(__file__).resolve().parents[2] / "templates"
COPIED = {
    "admin/base.html": "2ce9250b3c649e3a",
    "unfold/helpers/add_link.html": "36cc86e42047e012",
    "unfold/helpers/boolean.html": "ccaf312fe7efd6b9",
    "unfold/helpers/empty_results.html": "5f4727a37a99da76",
    "unfold/helpers/field_readonly_value.html": "a1d46fa2a26e3441",
    "unfold/helpers/header_title.html": "b126ed2ab9ca1680",
    "unfold/helpers/navigation_header.html": "35139b9d94580be9",
    "unfold/helpers/navigation_user.html": "4c9ba58b3f215326",
    "unfold/helpers/site_icon.html": "e35b87d138cd96c9",
    "unfold/helpers/theme_switch.html": "c8e659df65f5aa78",
    "unfold/helpers/theme_switch_dropdown.html": "90421e9a3524b57f",
    "unfold/helpers/welcomemsg.html": "e8eab02522ba2319",
    "unfold/layouts/base_simple.html": "f90e61e284c309cd",
    "unfold/layouts/skeleton.html": "66af9f0bb45f98ba",
    "unfold/layouts/unauthenticated.html": "768501529f1a8dae",
}
"""Templates that ours stand in place of, by the start of their SHA-256: look at what changed before you write a new one here."""
EXTENDED = {"admin/base_site.html", "admin/index.html", "admin/login.html"}
"""Templates of the same name that ours only add to."""


@pytest.mark.parametrize("name", COPIED)
def test_a_template_that_ours_replaces_is_the_one_that_we_know(name: str) -> None:
    assert hashlib.sha256((THEIRS / name).read_bytes()).hexdigest()[:16] == COPIED[name]


def test_every_replaced_template_is_known() -> None:
    ours = {str(file.relative_to(OURS)) for folder in ("unfold", "admin") for file in OURS.glob(f"{folder}/**/*.html")}
    replaced = {name for name in ours if (THEIRS / name).exists()}
    new = {
        name: hashlib.sha256((THEIRS / name).read_bytes()).hexdigest()[:16]
        for name in replaced - EXTENDED - set(COPIED)
    }
    assert not new, f"add to COPIED: {new}"


@pytest.mark.parametrize("name", CORRECTIONS)
def test_a_correction_finds_what_it_corrects(name: str) -> None:
    wrong, right = CORRECTIONS[name]
    assert (THEIRS / name).read_text().count(wrong) == 1
    assert right in get_template(name).template.source  # type: ignore[attr-defined]


def test_icons_of_its_templates_are_hidden_from_screen_readers() -> None:
    source = get_template("unfold/widgets/select.html").template.source  # type: ignore[attr-defined]
    assert '<span aria-hidden="true" class="material-symbols-outlined' in source


def test_the_icon_font_holds_every_icon_that_pages_show() -> None:
    missing = icon_font.used() - set(icon_font.ligatures(icon_font.OURS))
    assert not missing, f"python -m tests.support.icon_font adds {sorted(missing)}"
