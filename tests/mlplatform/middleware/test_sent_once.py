"""A form that the browser sends twice takes effect once, on every page of people."""

import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.messages.storage.session import SessionStorage
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory

from billing.models import LimitRule, Price
from mlplatform.lib import redis
from mlplatform.middleware import sent_once
from mlplatform.middleware.sent_once import SentOnceMiddleware
from tenants.models import ApiKey, Tenant, TrustedDocument, User
from tests.conftest import Customer
from tests.support import staff
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.django_db

KEYS = "/admin/tenants/apikey/"
LIMIT = {
    "name": "hour",
    "kind": "fixed_window",
    "counts": "units",
    "scope": "tenant",
    "amount": "9",
    "window_s": "60",
    "rate": "0",
}
FREE = {"per_input": "0", "cached_per_input": "0"}


@pytest.fixture
def browser() -> Client:
    """Sends the hidden token of each form, as browsers do."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(staff.superuser())
    return client


def token_of(browser: Client, page: str) -> str:
    found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', browser.get(page).content.decode())
    assert found
    return found[1]


def key_form(browser: Client, acme: Customer, **fields: object) -> dict[str, Any]:
    form: dict[str, Any] = {"tenant": acme.tenant.pk, "name": "Reports", "mode": "live", "scopes": ["predict"]}
    return {"csrfmiddlewaretoken": token_of(browser, f"{KEYS}add/"), **form, **fields}


def test_a_form_that_comes_twice_makes_one_key_and_its_secret_is_seen(browser: Client, acme: Customer) -> None:
    form = key_form(browser, acme)
    first = browser.post(f"{KEYS}add/", form)
    del browser.cookies[
        "secret_ticket"
    ]  # The browser that is clicked twice gives the first answer up, cookies and all.
    second = browser.post(f"{KEYS}add/", form)
    assert (first.status_code, second.status_code) == (303, 303)
    assert first["Location"] == second["Location"]
    assert ApiKey.objects.filter(name="Reports").count() == 1
    assert "mlp_live_" in browser.get(second["Location"]).content.decode().split('id="secret"')[1]


def test_an_answer_lies_sealed_in_redis(browser: Client, acme: Customer) -> None:
    answer = browser.post(f"{KEYS}add/", key_form(browser, acme))
    ticket = answer.cookies["secret_ticket"].value.encode()
    kept = [redis.state().dump(name) or b"" for name in redis.state().keys("sent-once:*")]
    assert len(kept) == 1
    assert ticket not in kept[0]


def test_the_same_page_with_other_fields_is_another_form(browser: Client, acme: Customer) -> None:
    form = key_form(browser, acme)
    browser.post(f"{KEYS}add/", form)
    browser.post(f"{KEYS}add/", form | {"name": "Nightly"})
    assert set(ApiKey.objects.values_list("name", flat=True)) == {"Production", "Reports", "Nightly"}


def test_a_form_with_a_mistake_may_be_sent_again(browser: Client, acme: Customer) -> None:
    form = key_form(browser, acme, name="")
    assert browser.post(f"{KEYS}add/", form).status_code == 200
    assert browser.post(f"{KEYS}add/", form).status_code == 200
    assert ApiKey.objects.count() == 1


@pytest.mark.parametrize(
    ("page", "fields", "count"),
    [
        ("tenants/user/add/", {"email": "new@acme.example"}, User.objects.count),
        ("tenants/tenant/add/", {"name": "Initech"}, Tenant.objects.count),
        ("billing/limitrule/add/", LIMIT, LimitRule.objects.count),
        ("billing/price/add/", {"operation": "batch", "per_call": "5"} | FREE, Price.objects.count),
        ("tenants/trusteddocument/add/", {"name": "home", "text": "{ me { keyName } }"}, TrustedDocument.objects.count),
        ("tenants/apikey/{key}/rotate/", {"overlap": "0"}, lambda: ApiKey.objects.get().secrets.count()),
    ],
)
def test_add_forms_and_questions_take_effect_once(
    browser: Client, acme: Customer, page: str, fields: dict[str, Any], count: Any
) -> None:
    address = "/admin/" + page.format(key=acme.key.pk)
    inlines = staff.no_rows("memberships")
    form = {"csrfmiddlewaretoken": token_of(browser, address), "tenant": acme.tenant.pk, **inlines, **fields}
    before = count()
    answers = [browser.post(address, form) for _ in range(3)]
    assert {answer.status_code for answer in answers} <= {302, 303}
    assert len({answer["Location"] for answer in answers}) == 1
    assert count() == before + 1


def test_without_redis_a_form_takes_effect(browser: Client, acme: Customer, state_redis: RedisServer) -> None:
    """Staff must be able to suspend a tenant while Redis is away."""
    page = f"/admin/tenants/tenant/{acme.tenant.pk}/suspend/"
    form = {"csrfmiddlewaretoken": token_of(browser, page), "confirmed": "yes"}
    state_redis.stop()
    try:
        assert browser.post(page, form).status_code == 302
    finally:
        state_redis.start()
    acme.tenant.refresh_from_db()
    assert acme.tenant.status == "suspended"


class Slow:
    """A page that takes as long as the test lets it."""

    def __init__(self) -> None:
        self.entered, self.go_on, self.runs = threading.Event(), threading.Event(), 0

    def __call__(self, request: HttpRequest) -> HttpResponse:
        self.runs += 1
        self.entered.set()
        assert self.go_on.wait(30)
        return HttpResponse(status=303, headers={"Location": "/admin/made/"})


@pytest.fixture
def slow() -> Iterator[Slow]:
    page = Slow()
    yield page
    page.go_on.set()


def send(page: Slow) -> HttpResponse:
    """As Django calls a middleware: the view between ``process_view`` and the end of ``__call__``."""

    def rest(request: HttpRequest) -> HttpResponse:
        return middleware.process_view(request, page, (), {}) or page(request)

    middleware = SentOnceMiddleware(rest)
    request = RequestFactory().post("/admin/add/", {"csrfmiddlewaretoken": "t" * 64, "name": "x"})
    request.user = User(pk=1, email="ada@staff.example")
    request.session = {}  # type: ignore[assignment]  # for the messages alone
    request._messages = SessionStorage(request)  # type: ignore[attr-defined]  # as MessageMiddleware does
    return middleware(request)


def test_a_double_click_waits_for_the_first_answer(slow: Slow) -> None:
    answers: list[HttpResponse] = []
    clicks = [threading.Thread(target=lambda: answers.append(send(slow))) for _ in range(2)]
    clicks[0].start()
    assert slow.entered.wait(30)
    clicks[1].start()
    slow.go_on.set()
    for click in clicks:
        click.join(30)
    assert [answer["Location"] for answer in answers] == ["/admin/made/"] * 2
    assert slow.runs == 1


def test_a_form_that_takes_long_is_not_begun_again(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sent_once, "PATIENCE_S", 0.1)
    first = threading.Thread(target=lambda: send(slow))
    first.start()
    assert slow.entered.wait(30)
    second = send(slow)
    assert (second.status_code, second["Location"]) == (303, "/admin/add/")  # back to the form, with a message
    slow.go_on.set()
    first.join(30)
    assert slow.runs == 1


def test_after_a_mistake_of_ours_a_form_may_be_sent_again(browser: Client, acme: Customer) -> None:
    form = key_form(browser, acme)
    browser.raise_request_exception = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tenants.api_keys.issue", None)
        assert browser.post(f"{KEYS}add/", form).status_code == 500
    assert browser.post(f"{KEYS}add/", form).status_code == 303
    assert ApiKey.objects.filter(name="Reports").count() == 1
