"""GraphiQL in real Chromium: offline, under its policy, the schema without a key and answers with one."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from pytest_django.live_server_helper import LiveServer

from tests.browser.test_admin_pages import chromium
from tests.browser.test_docs_pages import watched
from tests.conftest import Customer
from tests.support import staff

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def signed_up(live_server: LiveServer) -> None:
    """Asked for before the browser, in whose event loop no row can be written."""
    staff.superuser()


@pytest.fixture
def browser(live_server: LiveServer) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield browser
        browser.close()


def _opened(browser: Browser, url: str, *, width: int, scheme: str) -> tuple[Page, list[str]]:
    """The page after signing in, which its address leads to by itself."""
    page, complaints = watched(browser, url, width=width, scheme=scheme)
    page.goto(f"{url}/graphql")
    assert "/login/" in page.url
    page.fill("input[name=username]", "ada@staff.example")
    page.fill("input[name=password]", staff.PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_url(f"{url}/graphql")
    page.wait_for_selector(".graphiql-query-editor .CodeMirror")
    return page, complaints


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_the_schema_is_shown_to_who_is_signed_in(
    live_server: LiveServer, signed_up: None, browser: Browser, width: int, scheme: str
) -> None:
    page, complaints = _opened(browser, live_server.url, width=width, scheme=scheme)
    page.click("button[aria-label='Show Documentation Explorer']")
    page.wait_for_selector(".graphiql-doc-explorer-content >> text=Query")
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    assert complaints == []


def test_a_query_is_run_with_a_key(live_server: LiveServer, signed_up: None, acme: Customer, browser: Browser) -> None:
    page, complaints = _opened(browser, live_server.url, width=1440, scheme="light")
    run = "button[aria-label^='Execute query']"
    page.evaluate(
        "document.querySelector('.graphiql-query-editor .CodeMirror').CodeMirror.setValue('{ __typename me { keyName } }')"
    )
    page.click(run)
    page.wait_for_selector(".result-window >> text=UNAUTHENTICATED")
    page.evaluate(
        "headers => document.querySelector('.graphiql-editor-tool .graphiql-editor:not(.hidden) .CodeMirror')"
        ".CodeMirror.setValue(headers)",
        f'{{"Authorization": "Bearer {acme.secret}"}}',
    )
    page.click(run)
    page.wait_for_selector(f".result-window >> text={acme.key.name}")
    assert page.evaluate("Object.values(localStorage).some(kept => kept.includes('mlp_live_'))") is False
    # The browser reports the first answer's status as a failed resource.
    assert [one for one in complaints if "401" not in one] == []
