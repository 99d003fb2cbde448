"""403, 404, 500 and 503: pages in our look for people, with a way back; problems for programs."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import include, path
from redis.exceptions import ConnectionError as RedisConnectionError

from mlplatform.lib.errors import unavailable
from tenants.models import Tenant
from tests.support import staff

BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
FAILURES = {
    "mistake": RuntimeError("the inside of the service"),
    "sql": OperationalError("no such host db.internal"),
    "redis": RedisConnectionError("no such host redis.internal"),
    "platform": unavailable("The state Redis is away.", retry_after_s=7),
}


def _fail(request: HttpRequest, name: str) -> HttpResponse:
    raise FAILURES[name]


urlpatterns = [
    path("admin/fail/<str:name>", _fail),
    path("docs/fail/<str:name>", _fail),
    path("fail/<str:name>", _fail),
    path("v2/fail/<str:name>", _fail),
    path("", include("mlplatform.urls")),
]
handler400 = "mlplatform.error_pages.bad_request"
handler403 = "mlplatform.error_pages.forbidden"
handler404 = "mlplatform.error_pages.not_found"
handler500 = "mlplatform.error_pages.server_error"


@pytest.fixture
def failing() -> Iterator[Client]:
    """A browser on an installation with addresses that fail."""
    with override_settings(ROOT_URLCONF=__name__):
        yield Client(raise_request_exception=False, headers=BROWSER)


def is_ours(response: Any, *, back: str) -> str:
    """The page's text, after looking that it has our look, its status in words, and a way back."""
    html: str = response.content.decode()
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'self'" in response.headers["Content-Security-Policy"]
    assert f'<p class="error-status">{response.status_code}</p>' in html
    assert f'class="p-button p-primary" href="{back}"' in html
    sheets = re.findall(r'rel="stylesheet" href="/static/([^"]+)"', html)
    assert "platform/tokens.css" in sheets
    assert all(finders.find(sheet) for sheet in sheets)
    assert response.headers["X-Request-Id"] in html
    return html


@pytest.mark.parametrize(
    ("address", "back"), [("/admin/nope/", "/admin/"), ("/docs/nope", "/docs"), ("/static/nope", "/"), ("/nope", "/")]
)
def test_an_address_that_does_not_exist_is_a_page(db: None, address: str, back: str) -> None:
    client = staff.signed_in(staff.superuser())
    response = client.get(address, headers=BROWSER)
    assert response.status_code == 404
    assert "There is nothing here" in is_ours(response, back=back)


def test_a_person_is_told_which_account_may_not(db: None) -> None:
    response = staff.signed_in(staff.with_role("models")).get("/admin/auditlog/logentry/")
    assert response.status_code == 403
    html = is_ours(response, back="/admin/")
    assert "Not for this account" in html
    assert "models@staff.example" in html


def test_a_form_without_its_token_changes_nothing_and_says_why(db: None) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(staff.superuser())
    response = client.post("/admin/tenants/tenant/add/", {"name": "Initech", "slug": "initech"})
    assert response.status_code == 403
    assert "The form is out of date" in is_ours(response, back="/admin/")
    assert not Tenant.objects.exists()


@pytest.mark.parametrize("place", ["admin", "docs", ""])
@pytest.mark.parametrize(("failure", "status"), [("mistake", 500), ("sql", 503), ("redis", 503), ("platform", 503)])
def test_a_failure_is_a_page_that_shows_nothing_of_the_inside(
    failing: Client, place: str, failure: str, status: int
) -> None:
    """Without a database: the page must come when there is none."""
    response = failing.get(f"/{place}/fail/{failure}" if place else f"/fail/{failure}")
    assert response.status_code == status
    html = is_ours(response, back={"admin": "/admin/", "docs": "/docs", "": "/"}[place])
    assert "internal" not in html
    assert "inside of the service" not in html
    assert response.headers.get("Retry-After") == {"platform": "7", "mistake": None}.get(failure, "1")


@pytest.mark.parametrize(
    ("address", "status"), [("/nope", 404), ("/fail/mistake", 500), ("/fail/sql", 503), ("/v2/fail/redis", 503)]
)
def test_programs_get_problems(failing: Client, address: str, status: int) -> None:
    """Those that say nothing of html everywhere; on addresses of an API all clients."""
    headers = BROWSER if address.startswith("/v2") else {"accept": "*/*"}
    response = failing.get(address, headers=headers)
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["status"] == status
    assert response.json()["request_id"] == response.headers["X-Request-Id"]


@pytest.mark.parametrize("address", ["/v2/nope", "/v9/predict/x", "/predict/x", "/models/a/b/c/d", "/oip/nope"])
def test_an_address_of_an_api_stays_a_problem_for_browsers_too(db: None, address: str) -> None:
    response = Client(headers=BROWSER).get(address)
    assert response.status_code in {400, 404}
    assert "json" in response.headers["Content-Type"]


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("/admin", "/admin/"),
        ("/admin/tenants/tenant?q=acme", "/admin/tenants/tenant/?q=acme"),
        ("/docs/", "/docs"),
    ],
)
def test_an_address_with_a_slash_too_many_or_too_few_leads_to_its_page(db: None, address: str, target: str) -> None:
    client = staff.signed_in(staff.superuser())
    response = client.get(address)
    assert response.status_code in {301, 302}
    assert response.headers["Location"] == target
    assert client.get(target).status_code == 200
