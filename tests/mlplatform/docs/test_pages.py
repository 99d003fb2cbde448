"""The pages for people who write clients: complete, linked, and safe by their policy."""

import re

import pytest
from django.contrib.staticfiles import finders

from mlplatform.lib.errors import ErrorKind
from tenants.http import problems
from tests.support.rest import Api

BROWSER = {"accept": "text/html"}
PAGES = [
    "/",
    "/docs",
    "/docs/v1",
    "/docs/v2",
    "/docs/problems",
    "/docs/migrate",
    "/docs/migrate/v1-v2",
    "/docs/changelog",
    "/docs/changelog?about=v1",
    "/docs/quickstart",
]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_loads_nothing_from_elsewhere(db: None, path: str) -> None:
    answer = Api().get(path)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "script-src" not in policy
    html = answer.content.decode()
    for address in re.findall(r'(?:src|href)="([^"]+)"', html):
        assert address.startswith(("/", "#")) or address == "https://www.rfc-editor.org/rfc/rfc9457", address
    assert not re.search(r"<script(?![^>]*\bsrc=)", html)
    assert not re.search(r"\son[a-z]+=", html)


@pytest.mark.parametrize("path", PAGES)
def test_its_links_lead_somewhere(db: None, path: str) -> None:
    html = Api().get(path).content.decode()
    for address in set(re.findall(r'(?:src|href)="(/[^"#]*)', html)):
        if address.startswith("/static/"):
            assert finders.find(address.removeprefix("/static/")), address
        else:
            assert Api().get(address, headers=BROWSER).status in {200, 302, 503}, address


def test_the_landing_page_names_this_address() -> None:
    html = Api().get("/", SERVER_NAME="localhost").content.decode()
    assert "http://localhost/v2/predict" in html


@pytest.mark.parametrize(("path", "document"), [("/docs/v2", "/v2/openapi.json"), ("/docs/v1", "/v1/openapi.json")])
def test_the_reference_shows_its_document(path: str, document: str) -> None:
    assert f'data-document="{document}"' in Api().get(path).content.decode()


def test_an_api_version_without_a_document_has_no_page() -> None:
    assert Api().get("/docs/v3").status == 404


@pytest.mark.parametrize("kind", list(ErrorKind))
def test_every_problem_has_its_place(kind: ErrorKind) -> None:
    html = Api().get("/docs/problems").content.decode()
    wire = problems.TABLE[kind]
    section = html.partition(f'id="{kind.value}"')[2].partition("</section>")[0]
    assert section
    assert f">{wire.status}<" in section
    assert wire.title in section
    assert problems.type_of(kind) in section
    target = problems.type_of(kind)
    if target.startswith("/"):
        page, _, anchor = target.partition("#")
        assert (page, anchor) == ("/docs/problems", kind.value)
