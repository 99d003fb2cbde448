"""The documents in real Chromium: offline, under their policy, nothing cut off, and a call can be tried."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from pytest_django.live_server_helper import LiveServer

from tests.browser.test_admin_pages import chromium
from tests.conftest import Customer
from tests.support.ending import make_schedule

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

PAGES = [
    "/",
    "/docs",
    "/docs/quickstart",
    "/docs/settings",
    "/docs/v2",
    "/docs/v1",
    "/docs/problems#quota-exceeded",
    "/docs/migrate",
    "/docs/migrate/v1-v2",
    "/docs/changelog",
]


@pytest.fixture
def v1_ends(live_server: LiveServer) -> None:
    """Asked for before the browser, in whose event loop no row can be written."""
    make_schedule()


@pytest.fixture
def browser(live_server: LiveServer) -> Iterator[Browser]:
    """Closed before the server and the database are: its event loop must not run while Django cleans up."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield browser
        browser.close()


def watched(browser: Browser, url: str, *, width: int, scheme: str) -> tuple[Page, list[str]]:
    """A page, and everything about it that must not happen: complaints, and requests that go elsewhere."""
    complaints: list[str] = []
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in {"error", "warning"} else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request",
        lambda request: None if request.url.startswith((url, "data:", "blob:")) else complaints.append(request.url),
    )
    page.on("requestfailed", lambda request: complaints.append(f"failed: {request.url}"))
    return page, complaints


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_pages_are_whole_and_offline(
    live_server: LiveServer, v1_ends: None, browser: Browser, width: int, scheme: str
) -> None:
    for path in PAGES:
        page, complaints = watched(browser, live_server.url, width=width, scheme=scheme)
        page.goto(live_server.url + path)
        if path in {"/docs/v2", "/docs/v1"}:
            page.wait_for_selector(".opblock")
            page.locator(".opblock-summary-control").last.click()
            page.wait_for_selector(".opblock-body")  # one that is deprecated does not say that it is open
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0, path
        assert complaints == [], path
        page.context.close()


def test_a_call_can_be_tried(live_server: LiveServer, acme: Customer, browser: Browser) -> None:
    page, complaints = watched(browser, live_server.url, width=1440, scheme="light")
    page.goto(f"{live_server.url}/docs/v2")
    page.click("button.authorize")
    page.locator(".auth-container input").first.fill(acme.secret)
    page.locator(".auth-container button[type=submit]").first.click()
    page.locator(".btn-done").first.click()
    page.click("[id$='getMe'] .opblock-summary-control")
    page.click("[id$='getMe'] button.execute")
    page.wait_for_selector("[id$='getMe'] .live-responses-table .response-col_status")
    assert page.inner_text("[id$='getMe'] .live-responses-table tbody .response-col_status").startswith("200")
    assert "acme" in page.inner_text("[id$='getMe'] .live-responses-table")
    assert complaints == []
    page.context.close()


def test_the_reference_of_v1_is_a_click_away(live_server: LiveServer, browser: Browser) -> None:
    page, _ = watched(browser, live_server.url, width=390, scheme="light")
    page.goto(f"{live_server.url}/docs")
    page.click("nav >> text=API v1")
    page.wait_for_selector(".opblock")
    assert "/v1.1/predict" in page.inner_text("#swagger-ui").replace("\u200b", "")
    page.context.close()
