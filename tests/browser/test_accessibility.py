"""axe on every page of the admin and the documents, in both schemes; and the keyboard, which reaches whatever a mouse does."""

from collections.abc import Iterator
from importlib.resources import files
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.urls import reverse
from playwright.sync_api import Page
from pytest_django.live_server_helper import LiveServer

from tenants import password_links
from tests.browser.test_admin_pages import Watched, addresses, tab
from tests.conftest import Customer
from tests.support.ending import make_schedule

__all__ = ["addresses", "tab"]

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

AXE: Final = files("axe_playwright_python").joinpath("axe.min.js").read_text()
DOCUMENTS: Final = [
    "/",
    "/docs",
    "/docs/quickstart",
    "/docs/settings",
    "/docs/adr/0001-admission-in-one-script",
    "/docs/v1",
    "/docs/v2",
    "/docs/problems",
    "/docs/migrate",
    "/docs/migrate/v1-v2",
    "/docs/changelog",
]
DRAWN_LATER: Final = {"/docs/v1": ".opblock", "/docs/v2": ".opblock", "/graphql": ".CodeMirror textarea[aria-label]"}
"""Pages that scripts write when they have fetched more, by what shows that they have."""
_RUN: Final = "async () => (await axe.run(document, {resultTypes: ['violations']})).violations"


@pytest.fixture
def pages(addresses: dict[str, str], live_server: LiveServer, acme: Customer) -> dict[str, str]:
    """All pages by name; asked for before the browser, in whose event loop no row can be written."""
    schedule = make_schedule()
    ends = "/admin/tenants/deprecationschedule/"
    paths = {
        "nothing": "/admin/nope/",
        "password": "/admin/password_change/",
        "schedule": f"{ends}{schedule.pk}/change/",
        "impact": f"{ends}{schedule.pk}/impact/",
        "set a password": password_links.link_for(acme.owner).removeprefix(settings.BASE_URL),
        "password is set": "/people/password/set",
        "brownout": f"{ends}{schedule.pk}/brownout/",
        "timeline": f"{ends}timeline/",
        "GraphiQL": "/graphql",
        **{path: path for path in (*DOCUMENTS, *_lists_and_forms())},
    }
    return addresses | {name: live_server.url + path for name, path in paths.items()}


def _lists_and_forms() -> Iterator[str]:
    """Of every model that the admin shows; a form that nobody may open is a 403, which is a page too."""
    for model in apps.get_models():
        if admin.site.is_registered(model):
            for view in ("changelist", "add"):
                yield reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{view}")


def findings(page: Page) -> list[str]:
    """What axe calls serious or critical: the rule, and the places of it."""
    page.evaluate(AXE)
    violations: list[dict[str, Any]] = page.evaluate(_RUN)
    return [
        f"{rule['id']}: {node['html'][:160]} {node['any'][0]['message'][:150] if node['any'] else ''}"
        for rule in violations
        if rule["impact"] in {"serious", "critical"}
        for node in rule["nodes"]
    ]


def seen(tab: Watched, address: str) -> Page:
    """The page when its scripts have run."""
    tab.page.goto(address)
    drawn = DRAWN_LATER.get(urlsplit(address).path)
    if drawn:
        tab.page.wait_for_selector(drawn, state="attached")
    return tab.page


_UNREACHED: Final = """() => [...document.querySelectorAll("[x-on\\\\:click]")]
    .filter(part => part.checkVisibility() && part.tabIndex < 0)
    .filter(part => !part.querySelector("a, button, input, select, textarea, [tabindex]"))
    .map(part => part.outerHTML.slice(0, 160))"""
_SPELT_OUT: Final = """() => [...document.querySelectorAll(".material-symbols-outlined")]
    .filter(icon => icon.checkVisibility())
    .filter(icon => icon.getBoundingClientRect().width > 1.4 * parseFloat(getComputedStyle(icon).fontSize))
    .map(icon => icon.textContent.trim())"""
_READ_ALOUD: Final = """() => [...document.querySelectorAll(".material-symbols-outlined")]
    .filter(icon => !icon.closest("[aria-hidden='true'], [aria-label]"))
    .map(icon => icon.textContent.trim())"""


def test_every_page_is_for_people_who_do_not_see_it_or_have_no_mouse(pages: dict[str, str], tab: Watched) -> None:
    """In the light scheme on a desk, in the dark one on a phone."""
    tab.page.emulate_media(color_scheme="light" if tab.is_wide else "dark")
    found: list[str] = []
    for name, address in pages.items():
        page = seen(tab, address)
        found += [f"{name}: {place}" for place in findings(page)]
        for wrong, script in (("not reached", _UNREACHED), ("spelt out", _SPELT_OUT), ("read aloud", _READ_ALOUD)):
            found += [f"{name}: {wrong}: {place}" for place in page.evaluate(script)]
        if not page.locator("main").count() or not page.locator(".skip").count():
            found.append(f"{name}: no main landmark, or no link to it")
    assert not found, "\n".join(found)


def test_the_keyboard_skips_to_the_content_and_moves_the_sidebar(pages: dict[str, str], tab: Watched) -> None:
    page = seen(tab, pages["tenants"])
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    toggle = page.get_by_role("button", name="Sidebar", exact=True)
    before = toggle.get_attribute("aria-expanded")
    toggle.focus()
    page.keyboard.press("Enter")
    page.wait_for_function("was => document.activeElement.getAttribute('aria-expanded') !== was", arg=before)
    assert page.locator("#nav-sidebar").is_visible() is (before == "false")
    if not tab.is_wide:
        page.get_by_role("button", name="Close the sidebar").press("Enter")
        page.wait_for_function("!document.querySelector('#nav-sidebar').checkVisibility()")


def test_the_menu_of_the_account_opens_by_the_keyboard(pages: dict[str, str], tab: Watched) -> None:
    page = seen(tab, pages["start"])
    if not tab.is_wide:
        page.get_by_role("button", name="Sidebar", exact=True).press("Enter")
    page.get_by_role("button", name="Ada").press("Enter")
    dark = page.get_by_role("button", name="Dark")
    dark.press("Enter")
    page.wait_for_function("document.documentElement.classList.contains('dark')")
    assert dark.get_attribute("aria-pressed") == "true"
    assert tab.problems == []
