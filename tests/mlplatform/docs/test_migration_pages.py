"""``/docs/migrate/…``: public guides, complete before anything is announced, and silent about what is not announced yet."""

import datetime as dt
import html
import os
import re
import subprocess
import sys
from importlib import import_module

import pytest
from django.apps import apps
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from inference.deprecations.guides import pages
from mlplatform.lib import clock
from tenants.deprecations import catalogue, schedules
from tenants.models import Tenant
from tests.conftest import Customer
from tests.support.ending import DAY, make_schedule
from tests.support.live_worker import LiveWorker, demo_models, live_worker
from tests.support.rest import Api
from tests.support.walked_clock import Walk, walk

__all__ = ["demo_models", "live_worker", "walk"]

pytestmark = pytest.mark.django_db


def page(path: str) -> str:
    answer = Api().get(path)
    assert answer.status == 200, path
    return answer.content.decode()


def day(at: dt.datetime) -> str:
    return f"{at.day} {at:%B %Y}"


@pytest.mark.parametrize("pair", ["v1-v2", "v1.1-v2", "v1-v1.1"])
def test_guides_between_api_versions_are_always_there(pair: str) -> None:
    old, _, new = pair.partition("-")
    found = page(f"/docs/migrate/{pair}")
    assert f"No end of {old} is announced" in found
    assert "What changes" in found
    assert f"/{new}/predict" in found
    assert f'href="/docs/migrate/{pair}"' in page("/docs/migrate")


def test_its_steps_are_true_before_the_announcement_and_after() -> None:
    """Before it no answer has a header to watch for, so what says that somebody has arrived is the version that answers."""
    before = page("/docs/migrate/v1-v2")
    make_schedule(deprecated_days_ago=-5, guide=pages.draft(kind="api_version", subject="v1", successor="v2"))
    announced = page("/docs/migrate/v1-v2")
    for said in (before, announced):
        assert "you see no" not in said
        assert "<code>API-Version: v2</code>: when all of yours do" in said
    assert "Announced</b>" not in before
    assert "answers carry Sunset and Link" in announced


@pytest.mark.parametrize(
    "pair",
    [
        "v2-v1",
        "v1-v1",
        "v1-v3",
        "v1",
        "",
        "-",
        "v1-",
        "sentiment@1.0.0-2.0.0",
        "sentiment@1.0.0-9.9.9",
        "a/b",
        "%00",
        "v1-v2-",
    ],
)
def test_what_does_not_exist_is_404(demo_models: None, pair: str) -> None:
    assert Api().get(f"/docs/migrate/{pair}").status == 404 or pair == ""


def test_dates_reason_and_the_text_of_staff_appear_with_the_announcement(demo_models: None, walk: Walk) -> None:
    row = make_schedule(
        guide="# Hello from staff\n\n[[changes]]",
        reason="A reason & more.",
        announced_days_ago=-5,
        deprecated_days_ago=-30,
    )
    secret = ("Hello from staff", "A reason", day(row.sunset_at), day(row.deprecate_at), "ends on")
    before = page("/docs/migrate/v1-v2") + page("/docs/migrate")
    assert not [word for word in secret if word in before]
    walk(row.announce_at)
    found = page("/docs/migrate/v1-v2")
    for word in (
        "Hello from staff",
        "A reason &amp; more.",
        day(row.sunset_at),
        day(row.deprecate_at),
        "will be deprecated",
    ):
        assert word in found
    assert "[[" not in found
    walk(row.deprecate_at)
    assert "v1 is deprecated and ends on" in page("/docs/migrate/v1-v2")
    walk(row.sunset_at)
    assert "v1 ended on" in page("/docs/migrate/v1-v2")


def test_another_way_out_names_the_recommended_one() -> None:
    make_schedule(guide="Only for v2.")
    found = page("/docs/migrate/v1-v1.1")
    assert "Only for v2." not in found
    assert 'We recommend <a href="/docs/migrate/v1-v2">v2</a>' in found


def test_a_guide_between_model_versions_comes_with_the_announcement(demo_models: None, walk: Walk) -> None:
    row = make_schedule(
        "model_version",
        "sentiment@1.0.0",
        "sentiment@2.0.0",
        announced_days_ago=-5,
        deprecated_days_ago=-30,
        guide="Hi.",
    )
    path = "/docs/migrate/sentiment@1.0.0-2.0.0"
    assert Api().get(path).status == 404
    assert "sentiment" not in page("/docs/migrate")
    walk(row.announce_at)
    found = page(path)
    assert "Hi." in found
    assert "84.2%" in found
    assert f'href="{path}"' in page("/docs/migrate")
    schedules.cancel(row)
    catalogue.forget()
    assert Api().get(path).status == 404


def test_brownouts_of_all_are_told_and_those_of_one_tenant_are_not(acme: Customer) -> None:
    row = make_schedule()
    now = clock.now().replace(microsecond=0)  # In microseconds of the page the share might be found by chance.
    schedules.plan_brownout(
        schedule=row, starts_at=now + DAY, ends_at=now + DAY + dt.timedelta(hours=1), share=30, by=None
    )
    schedules.rehearse_brownout(schedule_id=row.pk, tenant=acme.tenant, minutes=60, share=77)
    schedules.grant_extension(
        schedule=row, tenant=acme.tenant, until=row.sunset_at + 400 * DAY, reason="They asked.", approved_by=acme.owner
    )
    catalogue.forget()
    found = page("/docs/migrate/v1-v2")
    assert "30 % of calls get 503" in found
    for word in ("77", "They asked", acme.tenant.name, day(row.sunset_at + 400 * DAY)):
        assert word not in found


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "[x](javascript:alert(1))", "<img src=x onerror=alert(1)>"]
)
def test_staff_cannot_put_a_script_on_the_page(text: str) -> None:
    make_schedule(guide=text, reason=text)
    found = page("/docs/migrate/v1-v2")
    assert not re.search(r"<script|<img src=x|href=\"javascript", found)


# --- The samples are true ---------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_the_samples_work_and_answer_as_they_say(
    acme: Customer, prices: None, live_worker: LiveWorker, live_server: LiveServer, settings: Settings
) -> None:
    settings.BASE_URL = live_server.url
    assert Tenant.objects.exists()
    environ = {"PATH": os.environ["PATH"], "API_KEY": acme.secret}
    blocks = [
        html.unescape(re.sub(r"<[^>]+>", "", block))
        for block in re.findall(r"<pre[^>]*>(.*?)</pre>", page("/docs/migrate/v1-v2"), re.DOTALL)
    ]
    assert len(blocks) == 6
    old_curl, new_curl, old_answer, new_answer, old_python, new_python = blocks
    for command, promised in ((old_curl, old_answer), (new_curl, new_answer)):
        done = subprocess.run(["sh", "-c", command], env=environ, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        # The numbers are examples; names, their order and the best label are not.
        assert re.findall(r'"(\w+)":', done.stdout) == re.findall(r'"(\w+)":', promised)
        assert '"positive"' in done.stdout
    printed = [
        subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=60).stdout
        for code in (old_python, new_python)
    ]
    assert printed[0] == printed[1]
    assert printed[0].startswith("positive\n0.9")


def test_a_guide_that_was_drafted_before_names_the_true_sign_after_the_migration() -> None:
    old = "3. Watch the headers of your answers: once you see no `Deprecation` any more, you have arrived."
    drafted = make_schedule(guide=f"## What to do\n\n{old}\n\nOurs.")
    own = make_schedule(subject="v1.1", guide="Watch the header `Deprecation`.")
    import_module("tenants.migrations.0008_guides_name_a_true_sign").name_a_true_sign(apps, None)
    drafted.refresh_from_db()
    own.refresh_from_db()
    assert "Answers of v2 tell `API-Version: v2`: when all of yours do, you have arrived.\n\nOurs." in drafted.guide
    assert "you see no" not in drafted.guide
    assert own.guide == "Watch the header `Deprecation`."
