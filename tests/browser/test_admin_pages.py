"""The admin in real Chromium: nothing loads from elsewhere, scripts run under the page's policy, nothing is cut off."""

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, sync_playwright
from pytest_django.live_server_helper import LiveServer

from billing.models import Price, UsageRollup
from inference.fleet import workers
from inference.fleet.workers import Heartbeat, LoadedModel
from inference.models import EndUser, Item, MLModel, ModelVersion
from mlplatform import demo_audience
from mlplatform.lib import clock
from mlplatform.observability import traffic
from tenants import trusted_documents
from tests.conftest import Customer
from tests.support import staff
from tests.support.refusing import refuse

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

PAGES = {
    "start": "/admin/",
    "tenants": "/admin/tenants/tenant/",
    "tenant": "/admin/tenants/tenant/{tenant}/change/",
    "edit tenant": "/admin/tenants/tenant/{tenant}/edit/",
    "find a call": "/admin/billing/usagerecord/find/?request_id=refused",
    "no such call": "/admin/billing/usagerecord/find/?request_id=nothing",
    "new customer": "/admin/tenants/tenant/add/",
    "history": "/admin/tenants/tenant/{tenant}/history/",
    "nothing found": "/admin/auditlog/logentry/?q=nothing",
    "new person": "/admin/tenants/user/add/",
    "new staff": "/admin/tenants/user/add/?_changelist_filters=is_staff__exact%3D1",
    "shown secret": "/admin/tenants/apikey/{key}/secret/",
    "suspend": "/admin/tenants/tenant/{tenant}/suspend/",
    "people": "/admin/tenants/user/",
    "keys": "/admin/tenants/apikey/",
    "key": "/admin/tenants/apikey/{key}/change/",
    "new key": "/admin/tenants/apikey/add/",
    "plan": "/admin/billing/plan/{plan}/change/",
    "limits": "/admin/billing/limitrule/",
    "limit": "/admin/billing/limitrule/{limit}/change/",
    "price": "/admin/billing/price/{price}/change/",
    "records": "/admin/billing/usagerecord/",
    "subscriptions": "/admin/billing/subscription/",
    "prices": "/admin/billing/price/?sample-operation=predict&sample-inputs=3&sample-cached=1",
    "models": "/admin/inference/mlmodel/",
    "version": "/admin/inference/modelversion/{version}/change/",
    "push": "/admin/inference/modelversion/upload/",
    "workers": "/admin/inference/mlmodel/workers/",
    "drain": "/admin/inference/mlmodel/workers/gpu-1@a-host-with-a-long-name.example/drain/",
    "undrain": "/admin/inference/mlmodel/workers/gpu-2@host/drain/",
    "end users": "/admin/inference/enduser/",
    "end user": "/admin/inference/enduser/{end_user}/change/",
    "items": "/admin/inference/item/",
    "item": "/admin/inference/item/{item}/change/",
    "a long end user": "/admin/inference/enduser/{long_user}/change/",
    "a long item": "/admin/inference/item/{long_item}/change/",
    "trusted documents": "/admin/tenants/trusteddocument/",
    "trusted document": "/admin/tenants/trusteddocument/{document}/change/",
    "new trusted document": "/admin/tenants/trusteddocument/add/",
    "traffic": "/admin/traffic/",
    "usage": "/admin/billing/usagerollup/",
    "audit": "/admin/auditlog/logentry/",
    "roles": "/admin/auth/group/",
}


def chromium() -> str:
    """The path of a Chromium. Skips the test where there is none, unless REQUIRE_BROWSER=1 forbids that."""
    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
    )
    if not found:
        reason = "no Chromium on PATH; install Debian's `chromium` to run the browser tests"
        pytest.fail(reason) if os.environ.get("REQUIRE_BROWSER") == "1" else pytest.skip(reason)
    return found


@pytest.fixture
def addresses(acme: Customer, live_server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The pages by name, with a row of everything on them, and a user who may sign in to see them."""
    staff.superuser()
    model = MLModel.objects.create(name="digits")
    version = ModelVersion.objects.create(
        model=model,
        version="1.0.0",
        sha256="0" * 64,
        input_schema={"kind": "text"},
        output_schema={},
        state="live",
        accuracy=0.97,
    )
    # Their sign of life is given once and must last as long as the pages are looked at.
    monkeypatch.setattr(workers, "LIFETIME_S", 3600)
    busy_workers()
    refuse(acme, "refused")
    today = clock.now().date()
    UsageRollup.objects.create(day=today, tenant=acme.tenant, key_uid=acme.key.uid, model="digits", units=5000)
    demo_audience.seed(acme.tenant)
    categories = ["x" * 64, *(f"category {number}" for number in range(31))]
    long_user = EndUser.objects.create(
        tenant=acme.tenant, external_id="a" * 128, name="N" * 200, preferences={"categories": categories}
    )
    long_item = Item.objects.create(
        tenant=acme.tenant, external_id="b" * 128, title="T" * 200, description="d" * 4000, categories=categories
    )
    document = trusted_documents.register(
        tenant=acme.tenant, name="home", text="query Home {\n  me { keyName }\n}\n", judge=lambda _: ""
    )
    rows = {
        "long_user": long_user.pk,
        "long_item": long_item.pk,
        "document": document.pk,
        "limit": acme.plan.limits.earliest("pk").pk,
        "price": Price.objects.create(operation="batch", model="digits").pk,
        "end_user": EndUser.objects.get(external_id="reader-3").pk,
        "item": Item.objects.get(external_id="book-9").pk,
    }
    pks = rows | {"tenant": acme.tenant.pk, "key": acme.key.pk, "plan": acme.plan.pk, "version": version.pk}
    return {name: live_server.url + page.format(**pks) for name, page in PAGES.items()}


def busy_workers() -> None:
    """A worker with more models than a screen shows, a drained one, and an order for one that is away."""
    busy = Heartbeat(queue="gpu", device="cuda:0", pools=["gpu", "large"], name="gpu-1@a-host-with-a-long-name.example")
    busy.memory_limit_bytes = 8 * 2**30
    busy.loaded = lambda: [
        LoadedModel(
            f"model-{number}@1.0.{number}", 90 * 2**20, number * 1000, 0.012, clock.now().timestamp(), number < 5
        )
        for number in range(12)
    ]
    for name in ("gpu-2@host", "gpu-3@host"):
        workers.drain(worker=name, by="somebody.with.a.long.address@staff.example")
    for worker in (busy, Heartbeat(queue="gpu", device="cpu", name="gpu-2@host")):
        worker.note(0.0123)
        worker.beat()
        worker.beat()


class Watched:
    """A signed-in tab and everything that went wrong in it."""

    def __init__(self, page: Page, base: str) -> None:
        self.page = page
        self.problems: list[str] = []
        page.on("pageerror", lambda error: self.problems.append(f"script: {error}"))
        page.on("console", lambda message: self._console(message.type, message.text))
        page.on("request", lambda request: self._request(request.url, base))

    def _console(self, kind: str, text: str) -> None:
        if kind == "error":
            self.problems.append(f"console: {text}")

    def _request(self, url: str, base: str) -> None:
        if not url.startswith((base, "data:", "blob:")):
            self.problems.append(f"from elsewhere: {url}")

    @property
    def is_wide(self) -> bool:
        """Whether it is a desk's and no phone's."""
        return bool(self.page.evaluate("innerWidth >= 1280"))

    @property
    def cut_off(self) -> int:
        """Pixels by which the page is wider than the screen."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - innerWidth"))


@pytest.fixture(params=[1440, 390])
def tab(request: pytest.FixtureRequest, addresses: dict[str, str], live_server: LiveServer) -> Iterator[Watched]:
    binary = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": request.param, "height": 900})
        watched = Watched(page, live_server.url)
        page.goto(f"{live_server.url}/admin/login/")
        page.fill("[name=username]", "ada@staff.example")
        page.fill("[name=password]", staff.PASSWORD)
        page.click("[type=submit]")
        page.wait_for_url(f"{live_server.url}/admin/")
        yield watched
        browser.close()


def test_every_page_loads_whole_and_from_here_only(tab: Watched, addresses: dict[str, str]) -> None:
    for name, address in addresses.items():
        answer = tab.page.goto(address)
        assert answer is not None
        assert answer.status == 200, name
        assert "default-src 'self'" in answer.headers["content-security-policy"], name
        assert tab.cut_off <= 0, name
        assert tab.problems == [], name


def test_the_whole_sidebar_fits_900_pixels_of_height(tab: Watched, addresses: dict[str, str]) -> None:
    if tab.page.viewport_size != {"width": 1440, "height": 900}:
        pytest.skip("on a phone the sidebar is opened, and scrolls")
    tab.page.goto(addresses["start"])
    entries = tab.page.query_selector_all("#nav-sidebar-apps ol a")
    assert len(entries) >= 24
    box, user = entries[-1].bounding_box(), tab.page.query_selector("#nav-sidebar-inner > :last-child")
    assert box is not None
    assert user is not None
    below = user.bounding_box()
    assert below is not None
    assert box["y"] + box["height"] <= below["y"]
    assert all(entry.bounding_box()["height"] >= 24 for entry in entries)  # type: ignore[index]  # they are shown


def test_what_is_written_into_a_page_does_not_run(tab: Watched, addresses: dict[str, str]) -> None:
    """The second wall, should a text ever come to a page unescaped."""
    answer = tab.page.goto(addresses["start"])
    assert answer is not None
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self' 'unsafe-eval'" in [part.strip() for part in policy.split(";")]
    handler, script = "<img src=/nothing onerror='window.evil = 1'>", "window.evil = 2"
    tab.page.evaluate("html => document.body.insertAdjacentHTML('beforeend', html)", handler)
    tab.page.evaluate(
        "text => document.body.append(Object.assign(document.createElement('script'), {textContent: text}))", script
    )
    tab.page.evaluate("location.href = 'javascript:window.evil = 3'")
    for _ in range(100):
        tab.page.wait_for_timeout(100)
        refused = sum("Content Security Policy" in problem for problem in tab.problems)
        if refused >= 3:
            break
    assert tab.page.evaluate("window.evil") is None
    assert refused >= 3, tab.problems


def test_the_charts_of_the_start_page_are_drawn(tab: Watched, addresses: dict[str, str]) -> None:
    traffic.count(200)
    traffic.gather()
    tab.page.goto(addresses["start"])
    highest = "figure => Math.max(...[...figure.querySelectorAll('i')].map(bar => bar.offsetHeight))"
    drawn = [figure.evaluate(highest) for figure in tab.page.query_selector_all(".p-bars")]
    assert len(drawn) == 2
    assert min(drawn) > 20
    assert tab.problems == []


def test_a_key_is_issued_and_its_secret_gone_on_the_next_page(tab: Watched, addresses: dict[str, str]) -> None:
    page = tab.page
    page.goto(addresses["tenant"].replace("/change/", "/issue_key/"))
    page.fill("[name=name]", "From the browser")
    page.click("text=Save")
    secret = page.inner_text("#secret")
    assert secret.startswith("mlp_live_")
    page.click("#copy")
    page.wait_for_function("document.getElementById('copied').textContent != 'Copy'")
    assert page.evaluate("getSelection().toString()").strip() == secret
    assert tab.cut_off <= 0
    page.click("text=I have kept it")
    page.wait_for_url("**/change/")
    assert page.input_value("[name=name]") == "From the browser"
    assert secret not in page.content()
    assert tab.problems == []


def test_a_double_click_issues_one_key_and_a_reload_none(tab: Watched, addresses: dict[str, str]) -> None:
    page = tab.page
    page.goto(addresses["tenant"].replace("/change/", "/issue_key/"))
    page.fill("[name=name]", "Clicked twice")
    page.dblclick("button:has-text('Save')", no_wait_after=True)
    page.wait_for_url("**/secret/")
    assert page.inner_text("#secret").startswith("mlp_live_")
    page.reload()
    assert "already shown" in page.inner_text("#content")
    assert tab.cut_off <= 0
    page.goto(addresses["keys"])
    assert page.locator("#result_list :text('Clicked twice')").count() == 1
    assert tab.problems == []


def test_suspending_goes_through_the_question(tab: Watched, addresses: dict[str, str]) -> None:
    page = tab.page
    page.goto(addresses["suspend"])
    page.click("text=Cancel")
    page.wait_for_url("**/change/")
    page.goto(addresses["suspend"])
    page.click("button:has-text('Suspend')")
    page.wait_for_url("**/change/")
    assert "Suspended: Acme." in page.content()
    assert tab.problems == []
