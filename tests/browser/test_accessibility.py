"""axe on every page of the admin and the documents, in both schemes; and the keyboard, which reaches whatever a mouse does."""

from importlib.resources import files
from typing import Any, Final

import pytest
from django.conf import settings
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
_RUN: Final = "async () => (await axe.run(document, {resultTypes: ['violations']})).violations"


@pytest.fixture
def pages(addresses: dict[str, str], live_server: LiveServer, acme: Customer) -> dict[str, str]:
    """All pages by name; asked for before the browser, in whose event loop no row can be written."""
    schedule = make_schedule()
    ends = f"{live_server.url}/admin/tenants/deprecationschedule/"
    found = addresses | {
        "nothing": f"{live_server.url}/admin/nope/",
        "sign-in": f"{live_server.url}/admin/login/?next=/docs",
        "API versions": f"{live_server.url}/admin/tenants/apiversion/",
        "timeline": f"{ends}timeline/",
        "schedules": ends,
        "schedule": f"{ends}{schedule.pk}/change/",
        "impact": f"{ends}{schedule.pk}/impact/",
        "new plan": f"{live_server.url}/admin/billing/plan/add/",
        "new price": f"{live_server.url}/admin/billing/price/add/",
        "records": f"{live_server.url}/admin/billing/usagerecord/",
        "versions": f"{live_server.url}/admin/inference/modelversion/",
        "GraphiQL": f"{live_server.url}/graphql",
        "set a password": live_server.url + password_links.link_for(acme.owner).removeprefix(settings.BASE_URL),
        "password is set": f"{live_server.url}/people/password/set",
    }
    return found | {path: live_server.url + path for path in DOCUMENTS}


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
    tab.page.wait_for_load_state("networkidle")
    return tab.page


def test_axe_finds_nothing_serious(pages: dict[str, str], tab: Watched) -> None:
    """In the light scheme on a desk, in the dark one on a phone."""
    tab.page.emulate_media(color_scheme="light" if tab.is_wide else "dark")
    found = [f"{name}: {place}" for name, address in pages.items() for place in findings(seen(tab, address))]
    assert not found, "\n".join(found)


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


def test_whatever_is_clicked_is_reached_by_the_keyboard_and_no_icon_is_text(
    pages: dict[str, str], tab: Watched
) -> None:
    for name, address in pages.items():
        page = seen(tab, address)
        assert page.evaluate(_UNREACHED) == [], name
        assert page.evaluate(_SPELT_OUT) == [], name
        assert page.evaluate(_READ_ALOUD) == [], name
        if "/admin/" in address and page.locator("#content").count():
            assert page.locator("main").count() == 1, name


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
