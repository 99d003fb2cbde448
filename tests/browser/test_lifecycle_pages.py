"""Staff end a version in real Chromium: plan it, look at the timeline and the impact, plan a brownout, grant an extension.

``LIFECYCLE_SHOTS`` names a folder for pictures of what people see.
"""

import datetime as dt
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright
from pytest_django.live_server_helper import LiveServer

from inference.models.lifecycle import Notice, Rehearsal
from mlplatform.lib import clock
from tenants.deprecations import catalogue, schedules
from tenants.models import ApiVersion, Brownout, DeprecationSchedule, Extension, Tenant, User
from tests.browser.test_admin_pages import Watched, chromium
from tests.conftest import Customer, make_customer
from tests.support import staff
from tests.support.impacted import DAY, make_schedule, make_versions, use

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

expect.set_options(timeout=30_000)

SCHEDULES = "/admin/tenants/deprecationschedule/"


@pytest.fixture(autouse=True)
def rows_beside_a_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Playwright runs a loop in this thread, on which Django would refuse SQL; nothing here waits on that loop."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")


@pytest.fixture(params=[1440, 390])
def width(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def tab(width: int, db: None, live_server: LiveServer) -> Iterator[Watched]:
    """Ada, signed in."""
    staff.superuser()
    binary = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 900}, base_url=live_server.url)
        watched = Watched(page, live_server.url)
        page.goto("/admin/login/")
        page.fill("[name=username]", "ada@staff.example")
        page.fill("[name=password]", staff.PASSWORD)
        page.click("[type=submit]")
        page.wait_for_url(f"{live_server.url}/admin/")
        yield watched
        browser.close()


def picture(tab: Watched, name: str, width: int) -> None:
    """Nothing is cut off; and a picture, for people who want to look."""
    tab.page.wait_for_load_state()
    assert tab.cut_off <= 0, name
    folder = os.environ.get("LIFECYCLE_SHOTS")
    if folder:
        tab.page.screenshot(path=Path(folder) / f"lifecycle-{name}-{width}.png", full_page=True)


def shown_calls(schedule: DeprecationSchedule, cast: list[Customer], helped: User) -> None:
    """A month of calls, notices, a rehearsal and an extension."""
    acme, globex, initech = cast
    for day in range(30):
        use(acme.tenant, days_ago=day, calls=400 + 13 * day, key=acme.key.uid, client="python-requests/2.32.3")
        use(globex.tenant, days_ago=day, calls=90 + (day * 7) % 40, key=globex.key.uid, client="okhttp/4.12.0")
    use(
        acme.tenant,
        days_ago=1,
        calls=60,
        key=acme.key.uid,
        client="acme-nightly-report/0.9 (cron; contact ops@acme.example)",
    )
    use(acme.tenant, days_ago=3, calls=12, key="key_cHjz81LmQo2PsaXw", client="curl/8.5.0")
    use(acme.tenant, days_ago=5, calls=2, key=acme.key.uid, client="PostmanRuntime/7.43")
    use(initech.tenant, days_ago=20, calls=3, key=initech.key.uid, client="curl/8.5.0")
    use(acme.tenant, calls=9120, key=acme.key.uid, api_version="v2", model_version="2.0.0")
    for customer in (acme, globex):
        row = Notice.objects.create(
            schedule=schedule, tenant=customer.tenant, moment="announcement", subject="v1 ends", text="t", html="h"
        )
        Notice.objects.filter(pk=row.pk).update(created_at=clock.now() - 9 * DAY, sent_at=clock.now() - 9 * DAY)
    Notice.objects.create(
        schedule=schedule, tenant=acme.tenant, moment="message:1", subject="Please move", text="t", html="h"
    )
    Rehearsal.objects.create(schedule=schedule, tenant=acme.tenant, state="succeeded", verdict="needs_work")
    Rehearsal.objects.create(schedule=schedule, tenant=globex.tenant, state="succeeded", verdict="ready")
    schedules.grant_extension(
        schedule=schedule,
        tenant=globex.tenant,
        until=schedule.sunset_at + 60 * DAY,
        reason="Their audit ends in summer.",
        approved_by=helped,
    )


def test_staff_plan_an_end(tab: Watched, width: int) -> None:
    page = tab.page
    page.goto(f"{SCHEDULES}timeline/")
    expect(page.get_by_text("Nothing is planned.")).to_be_visible()
    page.get_by_role("link", name="Plan the end of v1", exact=True).click()
    expect(page.locator("[name=subject]")).to_have_value("v1")
    expect(page.locator("[name=successor]")).to_have_value("v2")
    assert "[[changes]]" in page.input_value("[name=guide]")
    picture(tab, "add", width)
    page.fill("[name=sunset_at_0]", f"{clock.now() + 60 * DAY:%Y-%m-%d}")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("say why, or choose a later sunset")).to_be_visible()
    expect(page.get_by_text("This field is required")).to_be_visible()
    picture(tab, "errors", width)
    page.fill("[name=sunset_at_0]", f"{clock.now() + 230 * DAY:%Y-%m-%d}")
    page.fill("[name=reason]", "v2 says every score, and what a call cost.")
    page.get_by_role("button", name="Save", exact=True).click()
    page.wait_for_url(f"**{SCHEDULES}")
    row = DeprecationSchedule.objects.get()
    assert (row.subject, row.successor) == ("v1", "v2")
    picture(tab, "list", width)
    page.goto(f"{SCHEDULES}timeline/")
    expect(page.get_by_role("link", name="Edit the schedule of v1", exact=True)).to_be_visible()
    expect(page.get_by_text("is deprecated in favour of v2")).to_be_visible()
    assert tab.problems == []


def test_staff_see_who_is_hurt_and_help(tab: Watched, width: int, acme: Customer, globex: Customer) -> None:
    page, ada = tab.page, User.objects.get(email="ada@staff.example")
    ApiVersion.objects.filter(name="v1").update(released_at=clock.now() - 200 * DAY)
    ApiVersion.objects.filter(name="v1.1").update(released_at=clock.now() - 120 * DAY)
    ApiVersion.objects.filter(name="v2").update(released_at=clock.now() - 60 * DAY)
    now = clock.now()
    schedule = make_schedule(announce_at=now - 30 * DAY, deprecate_at=now - 5 * DAY, sunset_at=now + 190 * DAY)
    old, live = make_versions()
    make_schedule(
        str(old), str(live), announce_at=now + 20 * DAY, deprecate_at=now + 50 * DAY, sunset_at=now + 240 * DAY
    )
    for days in (40, 110, 170):
        starts = (now + days * DAY).replace(hour=10, minute=0)
        schedules.plan_brownout(schedule=schedule, starts_at=starts, ends_at=starts + DAY / 24, share=20, by=ada)
    initech = make_customer("initech")
    Tenant.objects.filter(pk=initech.tenant.pk).update(name="Initech Research and Analytics (Europe) GmbH")
    shown_calls(schedule, [acme, globex, initech], ada)
    catalogue.changed()

    page.goto(f"{SCHEDULES}timeline/")
    picture(tab, "timeline", width)
    chart = page.get_by_role("region", name="Versions over the months")
    assert chart.evaluate("box => box.querySelector('.p-tl-label').getBoundingClientRect().width") >= 140
    if width == 390:
        assert chart.evaluate("box => box.scrollWidth > box.clientWidth")  # the chart scrolls, and the page does not
        chart.evaluate("box => box.scrollLeft = 300")
        picture(tab, "timeline-scrolled", width)
        expect(page.get_by_role("link", name="Impact of the end of v1", exact=True).first).to_be_in_viewport()
    page.get_by_role("link", name="Impact of the end of v1", exact=True).first.click()
    expect(page.get_by_text("Who still calls it")).to_be_visible()
    picture(tab, "impact", width)
    page.get_by_text("2 notices").click()
    expect(page.get_by_text("“Please move”")).to_be_visible()

    page.get_by_role("link", name="Plan a brownout").click()
    page.fill("[name=starts_at]", f"{now + 30 * DAY:%Y-%m-%d}T10:00")
    page.fill("[name=minutes]", "30")
    page.fill("[name=share]", "50")
    picture(tab, "brownout", width)
    page.get_by_role("button", name="Plan it").click()
    page.wait_for_url("**/impact/")
    row = Brownout.objects.get(share=50)
    assert (row.ends_at - row.starts_at, row.created_by) == (dt.timedelta(minutes=30), ada)

    page.get_by_role("link", name="Grant an extension to Acme").click()
    expect(page.get_by_role("button", name="Grant the extension")).to_be_visible()
    picture(tab, "extension", width)
    page.fill("[name=reason]", "Their release is in August.")
    page.get_by_role("button", name="Grant the extension").click()
    page.wait_for_url("**/impact/")
    expect(page.get_by_text("Acme may use v1 until")).to_be_visible()
    assert Extension.objects.get(tenant=acme.tenant).approved_by == ada

    page.get_by_role("checkbox", name="Write to Acme").check()
    page.get_by_role("button", name="Write to the ticked").click()
    page.fill("[name=text]", "Please move to v2 before the summer.")
    picture(tab, "message", width)
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_text("owners and admins of 1 tenant?")).to_be_visible()
    picture(tab, "message-question", width)
    page.get_by_role("button", name="Send to 1 tenant").click()
    page.wait_for_url("**/impact/")
    expect(page.get_by_text("The message goes to 1 tenant.")).to_be_visible()

    page.goto(f"{SCHEDULES}{schedule.pk}/change/")
    picture(tab, "change", width)
    page.goto("/admin/tenants/apiversion/")
    picture(tab, "api-versions", width)
    assert tab.problems == []


def dark(page: Page) -> None:
    page.evaluate("localStorage.setItem('adminTheme', JSON.stringify('dark'))")
    page.reload()
    page.wait_for_function("document.documentElement.classList.contains('dark')")


def test_the_pages_follow_the_dark_theme(tab: Watched, width: int, acme: Customer, globex: Customer) -> None:
    page, ada = tab.page, User.objects.get(email="ada@staff.example")
    now = clock.now()
    schedule = make_schedule(sunset_at=now + 20 * DAY, short_notice_reason="It leaks.")
    shown_calls(schedule, [acme, globex, make_customer("initech")], ada)
    for name, address in (("timeline", f"{SCHEDULES}timeline/"), ("impact", f"{SCHEDULES}{schedule.pk}/impact/")):
        page.goto(address)
        dark(page)
        colour = page.evaluate("getComputedStyle(document.querySelector('.p-card')).backgroundColor")
        assert colour != "rgb(255, 255, 255)", name
        picture(tab, f"{name}-dark", width)
    page.goto("/admin/")
    expect(page.get_by_text("v1 ends in 19 days, and Acme, Initech still call it.")).to_be_visible()
    picture(tab, "start-dark", width)
    assert tab.problems == []
