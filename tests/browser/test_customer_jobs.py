"""What staff do for a customer, click by click in real Chromium: onboard, explain a 429, suspend, revoke, look who did what."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, sync_playwright
from pytest_django.live_server_helper import LiveServer

from billing.models import Plan
from mlplatform import roles
from tests.browser.test_admin_pages import Watched, chromium
from tests.conftest import Customer
from tests.support import staff
from tests.support.refusing import refuse

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


class Clicks:
    """A person at the pages, whose clicks are counted; a field that is clicked into counts, typing does not."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.count = 0

    def on(self, selector: str) -> None:
        self.page.click(selector)
        self.page.wait_for_load_state()
        self.count += 1

    def at_once(self, field: str, text: str) -> None:
        """Type into the field that has the focus when the page is there."""
        self.page.wait_for_function("name => document.activeElement?.name === name", arg=field)
        self.page.keyboard.type(text)

    def into(self, field: str, text: str) -> None:
        self.on(f"[name={field}]")
        self.page.keyboard.type(text)


@pytest.fixture
def tab(acme: Customer, live_server: LiveServer) -> Iterator[Watched]:
    staff.superuser()
    roles.sync()
    Plan.objects.create(name="Starter", included_units=1000)
    refuse(acme, "01a204e5a65f7ecb8b254765e8eb3281")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        watched = Watched(page, live_server.url)
        page.goto(f"{live_server.url}/admin/login/")
        page.fill("[name=username]", "ada@staff.example")
        page.fill("[name=password]", staff.PASSWORD)
        page.click("[type=submit]")
        page.wait_for_url(f"{live_server.url}/admin/")
        yield watched
        browser.close()


def test_a_customer_is_onboarded_with_six_clicks(tab: Watched) -> None:
    """It took 25: tenant, person with a typed password, membership, subscription and key had a form each."""
    clicks, page = Clicks(tab.page), tab.page
    clicks.on("#nav-sidebar a:has-text('Tenants')")
    clicks.on("a:has-text('New customer')")
    clicks.at_once("name", "Initech")
    clicks.into("owner_email", "bill@initech.example")
    clicks.on("button:has-text('Create')")
    assert page.inner_text("#secret").startswith("mlp_live_")
    clicks.on("#copy")
    clicks.on("text=I have kept it")
    page.wait_for_url("**/change/")
    assert clicks.count == 6
    assert tab.problems == []


def test_a_429_is_explained_with_two_clicks(tab: Watched) -> None:
    """Staff could not at all: only the customer's own key could ask."""
    clicks, page = Clicks(tab.page), tab.page
    clicks.on("#nav-sidebar a:has-text('Find a call')")
    clicks.at_once("request_id", "01a204e5a65f7ecb8b254765e8eb3281")
    clicks.on("button:has-text('Find')")
    said = page.inner_text("#content")
    for told in ("Acme", "Refused by burst", "5,000", "1,000", "plan Plan of acme"):
        assert told in said, told
    assert clicks.count == 2
    assert tab.problems == []


def test_refusals_are_a_click_away_on_the_tenants_page(tab: Watched, acme: Customer) -> None:
    clicks, page = Clicks(tab.page), tab.page
    clicks.on("#nav-sidebar a:has-text('Tenants')")
    clicks.on("#result_list a:has-text('Acme')")
    assert "asked 5,000, had 1,000" in page.inner_text("#content")
    clicks.on(".p-refusals a")
    assert "Refused by burst" in page.inner_text("#content")
    assert clicks.count == 3
    assert tab.problems == []


def test_a_tenant_is_suspended_and_its_history_says_by_whom(tab: Watched, acme: Customer) -> None:
    clicks, page = Clicks(tab.page), tab.page
    clicks.on("#nav-sidebar a:has-text('Tenants')")
    clicks.on("#result_list a:has-text('Acme')")
    clicks.on("a:has-text('Suspend')")
    clicks.on("button:has-text('Suspend')")
    page.wait_for_url("**/change/")
    assert "Suspended: Acme." in page.content()
    assert "every key is refused" in page.inner_text("#content")
    clicks.on(".p-tabs a:has-text('History')")
    first = page.inner_text("#result_list tbody >> nth=0")
    assert "ada@staff.example" in first
    assert clicks.count == 5
    assert tab.problems == []


def test_a_key_is_revoked_from_its_tenants_page(tab: Watched, acme: Customer) -> None:
    clicks, page = Clicks(tab.page), tab.page
    clicks.on("#nav-sidebar a:has-text('Tenants')")
    clicks.on("#result_list a:has-text('Acme')")
    clicks.on(".p-keys a:has-text('Production')")
    clicks.on("a:has-text('Revoke')")
    clicks.on("button:has-text('Revoke')")
    page.wait_for_url("**/change/")
    assert "was revoked." in page.inner_text("#main")
    assert page.locator("text=every address").count() == 1  # what it was allowed, in words
    assert clicks.count == 5
    assert tab.problems == []


def test_a_colleague_gets_a_role_and_no_typed_password(tab: Watched) -> None:
    clicks, page = Clicks(tab.page), tab.page
    clicks.on("#nav-sidebar a:has-text('Staff')")
    clicks.on("a:has-text('Add person')")
    assert page.locator("[type=password]").count() == 0
    clicks.into("email", "new@staff.example")
    page.select_option("[name=groups]", label="support")
    clicks.count += 1
    clicks.on("button:has-text('Save') >> nth=0")
    page.wait_for_url("**/change/")
    assert "new@staff.example is mailed a link" in page.inner_text("#main")
    assert page.is_checked("[name=is_staff]")
    assert clicks.count == 5
    assert tab.problems == []


def test_a_double_click_makes_one_customer(tab: Watched, live_server: LiveServer) -> None:
    page = tab.page
    page.goto(f"{live_server.url}/admin/tenants/tenant/add/")
    page.fill("[name=name]", "Initech")
    page.dblclick("button:has-text('Create')", no_wait_after=True)
    page.wait_for_url("**/secret/")
    assert page.inner_text("#secret").startswith("mlp_live_")
    page.goto(f"{live_server.url}/admin/tenants/tenant/?q=initech")
    assert page.locator("#result_list tbody").count() == 1
    assert tab.problems == []
