"""Forms of pages: in chunks and packed as well, and never larger than their address takes, with and without a session."""

import gzip
import io
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from inference.models import ModelVersion
from mlplatform.lib import enqueue
from tenants.models import Tenant, User
from tests.conftest import Customer
from tests.support import packages, staff
from tests.support.every_call import FORM, form
from tests.support.models_folder import models_dir, stored

__all__ = ["models_dir"]

UPLOAD = "/admin/inference/modelversion/upload/"
PACKAGE = form(("package", "shapes.zip", packages.zipped()), ("owner", "", b""))

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("models_dir")]


@pytest.fixture(autouse=True)
def no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker is asked to load what is pushed."""
    monkeypatch.setattr(enqueue, "send", lambda task, queue, kwargs: None)


def send(client: Client, path: str, content: bytes, *, content_type: str = FORM, chunked: bool = False,
         packed: bool = False, **meta: Any) -> Any:  # fmt: skip
    """As the front shows it."""
    content = gzip.compress(content) if packed else content
    meta |= {"HTTP_CONTENT_ENCODING": "gzip"} if packed else {}
    if chunked:
        meta |= {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input": io.BytesIO(content), "CONTENT_LENGTH": ""}
    return client.generic("POST", path, content, content_type=content_type, **meta)


class Unread(io.RawIOBase):
    def readinto(self, buffer: Any) -> int:
        raise AssertionError("the body was read")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_package(chunked: bool, packed: bool) -> None:
    answer = send(staff.signed_in(staff.superuser()), UPLOAD, PACKAGE, chunked=chunked, packed=packed)
    assert answer.status_code == 302, answer.content
    assert ModelVersion.objects.get().state == "staged"


def test_csrf_is_checked_in_chunks_too() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(staff.superuser())
    assert send(client, UPLOAD, PACKAGE, chunked=True).status_code == 403
    assert not ModelVersion.objects.exists()


def test_what_is_cut_off_or_no_gzip_is_refused(models_dir: Path) -> None:
    admin = staff.signed_in(staff.superuser())
    for content, more, words in (
        (PACKAGE[:-9], {"chunked": True}, b"cut off"),
        (PACKAGE, {"HTTP_CONTENT_ENCODING": "gzip"}, b"not gzip"),
        (PACKAGE, {"HTTP_CONTENT_ENCODING": "br"}, b"gzip"),
    ):
        answer = send(admin, UPLOAD, content, **more)
        assert answer.status_code in {400, 415}
        assert words in answer.content
    assert not ModelVersion.objects.exists()
    assert not stored(models_dir)


def test_no_more_than_the_limit(settings: Settings, models_dir: Path) -> None:
    settings.MAX_PACKAGE_BYTES = 1_000
    admin = staff.signed_in(staff.superuser())
    content = form(("package", "shapes.zip", b"x" * 70_000))
    for chunked, packed in ((True, False), (False, True), (True, True), (False, False)):
        answer = send(admin, UPLOAD, content, chunked=chunked, packed=packed)
        assert answer.status_code == 413
        assert b"1,000 bytes" in answer.content
    huge: dict[str, Any] = {"CONTENT_LENGTH": str(10**12), "wsgi.input": Unread()}
    assert send(admin, UPLOAD, b"x", **huge).status_code == 413
    assert not ModelVersion.objects.exists()
    assert not stored(models_dir)


@pytest.mark.parametrize(
    "who", [Client, lambda: staff.signed_in(User.objects.create_user("eve@acme.example", staff.PASSWORD))]
)
def test_a_package_of_another_caller_is_not_read(who: Any) -> None:
    client = who()
    lengths: tuple[dict[str, Any], ...] = (
        {"CONTENT_LENGTH": "100000"},
        {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"},
    )
    for more in lengths:
        answer = send(client, UPLOAD, b"x", **(more | {"wsgi.input": Unread()}))
        assert answer.status_code == 403
    assert not ModelVersion.objects.exists()


def test_other_pages_take_no_packages(acme: Customer) -> None:
    """Django would write the files of any form to disk before it knows who sends them."""
    page = f"/admin/tenants/tenant/{acme.tenant.pk}/change/"
    for client in (Client(), staff.signed_in(staff.superuser())):
        huge: dict[str, Any] = {"CONTENT_LENGTH": str(3 * 1024 * 1024), "wsgi.input": io.BytesIO(b"x" * 100)}
        assert send(client, page, b"x", **huge).status_code == 413


def test_the_page_of_graphql_takes_no_files(acme: Customer) -> None:
    """A form that says that it comes from a browser is looked into for its CSRF token."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(acme.owner)
    page = client.get("/graphql", headers={"accept": "text/html"}).content.decode()
    huge: dict[str, Any] = {"CONTENT_LENGTH": str(10**12), "wsgi.input": Unread()}
    assert send(client, "/graphql", b"x", **huge).status_code == 413
    query = b'{"query": "{ __schema { queryType { name } } }"}'
    token = {"HTTP_X_CSRFTOKEN": page.split('data-csrf="')[1].split('"')[0]}
    for chunked, packed in ((True, False), (False, True), (True, True)):
        answer = send(
            client, "/graphql", query, content_type="application/json", chunked=chunked, packed=packed, **token
        )
        assert answer.json()["data"]["__schema"]


def test_a_form_without_an_end_of_its_own_needs_a_length() -> None:
    """Half of it would look whole."""
    admin = staff.signed_in(staff.superuser())
    fields, before = b"name=Acme+Limited&slug=acme", Tenant.objects.count()
    simple = "application/x-www-form-urlencoded"
    answer = send(admin, "/admin/tenants/tenant/add/", fields, content_type=simple, chunked=True)
    assert answer.status_code == 400
    assert b"Content-Length" in answer.content
    assert Tenant.objects.count() == before
    packed = send(admin, "/admin/tenants/tenant/add/", fields, content_type=simple, chunked=True, packed=True)
    assert packed.status_code == 303
