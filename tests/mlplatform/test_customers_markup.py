"""What customers write stays text: in the admin, on pages of the documentation and in e-mails."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils.html import escape
from playwright.sync_api import sync_playwright

from billing.metering import ledger as metering_ledger
from inference.deprecations.notices import letters
from inference.deprecations.notices.moments import Moment, MomentKind
from inference.deprecations.rehearsals import report
from inference.deprecations.rehearsals.comparing import Difference, FieldChange
from inference.deprecations.rehearsals.report import CallOutcome
from inference.deprecations.samples import store as samples
from inference.models import Item, ModelVersion, Rehearsal
from inference.recommendations import entries
from inference.registry import versions
from mlplatform.lib import clock, enqueue
from tenants import api_keys, tenancy, trusted_documents
from tenants.deprecations import catalogue, schedules
from tenants.models import DeprecationSchedule, Tenant, User
from tenants.scopes import SCOPES
from tests.browser.test_admin_pages import chromium
from tests.conftest import Customer
from tests.support import packages, staff
from tests.support.impacted import DAY, make_schedule, use
from tests.support.markup import EVIL, IN_A_BROWSER, LINK, Page
from tests.support.models_folder import models_dir
from tests.support.rest import Api
from tests.support.tiny_model import TinyWorker, make_version, tiny_worker
from tests.support.walked_clock import published_at_once

__all__ = ["models_dir", "published_at_once", "tiny_worker"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("published_at_once", "prices")]

PLACES = re.compile(r"<(?:\w+:)?(\w+)>")


@pytest.fixture
def mallory(acme: Customer) -> Customer:
    """A customer each of whose names is markup."""
    owner = User.objects.create_user("mallory@evil.example", "correct horse battery", full_name=EVIL)
    tenant = tenancy.create(slug="evil", name=f"{EVIL}\nBcc: all@evil.example", owner=owner)
    acme.plan.subscriptions.create(tenant=tenant)
    issued = api_keys.issue(tenant=tenant, name=f"{EVIL}\n\nPay here", scopes=list(SCOPES), created_by=owner)
    return Customer(tenant=tenant, owner=owner, key=issued.key, secret=issued.secret, plan=acme.plan)


@pytest.fixture
def written(mallory: Customer, tiny_worker: TinyWorker, models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Customer:
    """Mallory with a row of everything that customers can make, each through the service that makes it for customers."""
    monkeypatch.setattr(enqueue, "send", lambda task, queue, kwargs: None)
    api = Api(mallory)
    headers = {"user-agent": EVIL.encode("ascii", "ignore").decode(), "x-request-id": "<script>evil()</script>"}
    _push(api, headers)
    tiny_worker.serve(make_version("tiny"))
    samples.opt_in(tenant=mallory.tenant)
    schedule = make_schedule()
    catalogue.forget()
    answer = api.post("/v1/predict", {"model": "tiny", "input": EVIL}, headers=headers)
    assert answer.status == 200, answer.body
    assert samples.flush() == 1
    assert metering_ledger.drain() == 1
    user = {"external_id": "ada", "name": EVIL.replace("\u202e", ""), "preferences": {"categories": [_line(60)]}}
    assert api.post("/v2/users", {"users": [user]}, headers=headers).status == 200
    item = {"external_id": "g1", "title": _line(), "description": f"{EVIL}\n{LINK}", "categories": [_line(60)]}
    # Parsed as the API does; no model is here that would embed its text.
    (entry,) = entries.items({"items": [item]})
    Item.objects.create(
        tenant=mallory.tenant,
        external_id=entry.external_id,
        title=entry.title,
        description=entry.description,
        categories=list(entry.categories),
    )
    assert api.post("/v2/likes", {"likes": [{"user_id": "ada", "item_id": "g1"}]}, headers=headers).status == 200
    trusted_documents.register(
        tenant=mallory.tenant, name=EVIL, text=f"# {EVIL}\n{{ me {{ keyName }} }}", judge=lambda _: ""
    )
    use(mallory.tenant, key=mallory.key.uid, client=EVIL, calls=3)
    _rehearse(schedule, mallory.tenant)
    schedules.grant_extension(
        schedule=schedule, tenant=mallory.tenant, until=schedule.sunset_at + DAY, reason=EVIL, approved_by=mallory.owner
    )
    private = ModelVersion.objects.get(model__owner=mallory.tenant, version="1.0.0")
    versions.mark_verified(version_id=private.pk, error="")
    versions.promote(version=ModelVersion.objects.get(model__owner=mallory.tenant, version="1.1.0"))
    make_schedule("evil/shapes@1.0.0", "evil/shapes@1.1.0", guide="[[changes]]\n\n[[samples]]")
    catalogue.forget()
    return mallory


def _line(most: int = 200) -> str:
    """As far as a field takes it that must be one line of printable characters."""
    return EVIL.replace("\u202e", "")[:most]


def _push(api: Api, headers: dict[str, str]) -> None:
    texts = {"Shapes": EVIL, "Tells circles from squares.": EVIL, "MIT": EVIL, "On 100 held-out shapes.": EVIL}
    for version in ("1.0.0", "1.1.0"):
        card = packages.CARD.replace("1.0.0", version)
        for old, new in (texts | {"circle": f"{_line()}{version}"}).items():
            card = card.replace(json.dumps(old), json.dumps(new))
        zipped = packages.zipped(packages.files(card))
        path = "/v2/models/shapes/versions"
        answer = api.call("POST", path, content=zipped, content_type="application/zip", headers=headers)
        assert answer.status == 201, answer.body
        row = ModelVersion.objects.get(model__owner__isnull=False, version=version)
        versions.mark_verified(version_id=row.pk, error="" if version == "1.1.0" else f"LoadError: {EVIL}")


def _rehearse(schedule: Any, tenant: Tenant) -> None:
    """What its own calls and models told."""
    told = report.of(
        [
            CallOutcome(failure=("invalid-input", EVIL, EVIL)),
            CallOutcome(
                request_changes=(FieldChange(EVIL, "removed", EVIL, EVIL),),
                differences=(Difference("label", EVIL, 1.0, EVIL),),
                old_latency_ms=1.0,
                new_latency_ms=1.0,
                old_units=1,
                new_units=1,
            ),
        ]
    )
    Rehearsal.objects.create(
        schedule=schedule, tenant=tenant, state="succeeded", verdict=told.verdict, report=told.as_json(), finished_at=clock.now()
    )  # fmt: skip


def addresses(written: Customer) -> Iterator[str]:
    """Every page of the admin that is opened by GET (lists, forms, histories, questions, reports), for up to forty rows of each
    table."""
    for model, model_admin in admin.site._registry.items():
        rows = list(model._default_manager.order_by("-pk")[:40])
        for pattern in model_admin.get_urls():
            route = str(pattern.pattern)
            names = PLACES.findall(route)
            if not set(names) <= {"object_id", "pk", "tenant_id", "worker"}:
                continue
            base = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
            for row in rows if {"object_id", "pk"} & set(names) else [None]:
                values = {"tenant_id": written.tenant.pk, "worker": "gpu-1@host"}
                if row is not None:
                    values |= {"object_id": row.pk, "pk": row.pk}
                yield base + PLACES.sub(lambda found: str(values[found[1]]), route)  # noqa: B023 - used at once
    yield from ("/admin/", "/docs/changelog", "/docs/migrate", "/docs/migrate/v1-v2")


def pages(written: Customer) -> Iterator[tuple[str, str]]:
    """The HTML of every page by its address."""
    client = staff.signed_in(staff.superuser())
    Group.objects.create(name="a group")
    for address in addresses(written):
        answer = client.get(address)
        assert answer.status_code < 500, address
        if answer.get("Content-Type", "").startswith("text/html") and answer.status_code == 200:
            yield address, answer.content.decode()


@pytest.mark.parametrize(
    "spoiled",
    [
        f"<p>{EVIL}</p>", f'<p title="{EVIL}">', f"<a href='{LINK}'>", "<p onclick='evil()'>", "<script>evil()</script>",
        "<p x-init='evil()'>", "<p @click='evil()'>", "<p :class='evil()'>", "<textarea></textarea><evil>",
    ],
)  # fmt: skip
def test_markup_that_is_not_escaped_is_found(spoiled: str) -> None:
    assert Page(f"<html><body>{spoiled}</body></html>").problems != []
    assert Page(f"<html><body>{escape(spoiled)}</body></html>").problems == []


def test_no_page_takes_a_customers_text_for_markup(written: Customer) -> None:
    opened, showing = 0, set()
    for address, html in pages(written):
        page = Page(html)
        assert page.problems == [], address
        opened += 1
        if page.shows_evil:
            showing.add(re.sub(r"/\d+/", "/N/", address))
    assert opened > 80
    expected = {
        "/admin/tenants/tenant/",
        "/admin/tenants/tenant/N/change/",
        "/admin/tenants/tenant/N/suspend/",
        "/admin/tenants/apikey/",
        "/admin/tenants/apikey/N/change/",
        "/admin/tenants/user/",
        "/admin/tenants/user/N/change/",
        "/admin/tenants/trusteddocument/",
        "/admin/tenants/trusteddocument/N/change/",
        "/admin/inference/mlmodel/",
        "/admin/inference/mlmodel/N/change/",
        "/admin/inference/modelversion/N/change/",
        "/admin/inference/enduser/",
        "/admin/inference/enduser/N/change/",
        "/admin/inference/item/",
        "/admin/inference/item/N/change/",
        "/admin/billing/usagerecord/",
        "/admin/tenants/deprecationschedule/N/impact/",
        "/admin/auditlog/logentry/",
    }
    assert expected <= showing, (expected - showing, showing)
    assert "/admin/tenants/deprecationschedule/N/rehearsal/N/" in showing


@pytest.mark.browser
def test_a_browser_reads_them_alike(written: Customer) -> None:
    """Browsers mend what is not well formed in ways of their own."""
    found = dict(pages(written))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        tab = browser.new_page()
        spoiled = tab.evaluate(IN_A_BROWSER, f'<p title="{EVIL}">{EVIL}</p>')
        problems = {address: wrong for address, html in found.items() if (wrong := tab.evaluate(IN_A_BROWSER, html))}
        browser.close()
    assert len(spoiled) == 6, spoiled
    assert problems == {}


def test_what_a_search_and_a_refused_upload_say_back_is_text(mallory: Customer, models_dir: Path) -> None:
    client = staff.signed_in(staff.superuser())
    for path in ("tenants/tenant", "tenants/apikey", "inference/mlmodel", "inference/item", "billing/usagerecord"):
        page = Page(client.get(f"/admin/{path}/", {"q": EVIL}).content.decode())
        assert page.problems == [], path
    files = [b"no zip", packages.zipped({f"{EVIL}.py".replace("/", "_"): b"x"})]
    files += [packages.zipped(packages.files(packages.CARD.replace("MIT", "x" * 300).replace("shape =", "evil =")))]
    for content in files:
        package = SimpleUploadedFile(f"{EVIL}.zip", content, "application/zip")
        answer = client.post(
            "/admin/inference/modelversion/upload/", {"package": package, "owner": str(mallory.tenant.pk)}
        )
        page = Page(answer.content.decode())
        assert answer.status_code == 200
        assert page.problems == []


def test_the_guide_of_a_private_version_shows_its_labels_as_text(written: Customer) -> None:
    listed = Client().get("/docs/migrate", headers=written.auth)
    assert "/docs/migrate/evil/shapes@1.0.0-1.1.0" in listed.content.decode()
    answer = Client().get("/docs/migrate/evil/shapes@1.0.0-1.1.0", headers=written.auth)
    page = Page(answer.content.decode())
    assert answer.status_code == 200
    assert page.problems == []
    assert page.shows_evil


def test_letters_hold_names_as_text_in_one_line(written: Customer) -> None:
    schedule = catalogue.frozen(DeprecationSchedule.objects.get(subject="v1"))
    sent = letters.compose_message(
        schedule=schedule,
        tenant=written.tenant,
        subject="News\r\nBcc: all@evil.example\u202e",
        text=f"{EVIL}\n{LINK}",
        signed=EVIL,
    )
    assert sent.subject == "News Bcc: all@evil.example"
    moment = Moment("announcement", MomentKind.ANNOUNCEMENT, schedule.announce_at)
    told = letters.compose(schedule=schedule, reason="Ends.", tenant=written.tenant, moment=moment)
    for letter in (sent, told):
        page = Page(letter.html)
        assert page.problems == []
        assert page.shows_evil
    name = EVIL.replace("\u202e", "")
    assert f"Hello {name} Bcc: all@evil.example,\n" in told.text
    assert f'with the key "{name} Pay here": ' in told.text
    assert "\u202e" not in told.text + told.html
