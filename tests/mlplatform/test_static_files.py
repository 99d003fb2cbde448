"""Static files: packed, named by their content, kept by browsers for good; and how much of them a page is."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin

import pytest
from django.contrib.staticfiles.storage import staticfiles_storage
from django.test import Client, override_settings
from django.utils.functional import empty

from mlplatform import static_files
from tests.support import staff

KB = 1000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where an installation has gathered its files."""
    folder = tmp_path_factory.mktemp("static")
    with _settings_of(folder):
        assert static_files.collect()
    return folder


@pytest.fixture
def collected(folder: Path) -> Iterator[Path]:
    """The folder, which the settings name."""
    with _settings_of(folder):
        yield folder


@contextmanager
def _settings_of(folder: Path) -> Iterator[None]:
    with override_settings(STATIC_ROOT=folder):
        vars(staticfiles_storage)["_wrapped"] = empty  # it is made anew, for this folder
        yield
    vars(staticfiles_storage)["_wrapped"] = empty


def weight(client: Client, page: str) -> dict[str, int]:
    """Bytes that a browser without a cache is sent for a page, by address; of sheets also the fonts and pictures."""
    html = client.get(page, headers={"accept-encoding": "gzip"})
    found = {page: len(html.content)}
    waiting = re.findall(r'(?:<script[^>]*\bsrc|<link[^>]*\bhref)="(/static/[^"]+)"', client.get(page).content.decode())
    while waiting:
        address = waiting.pop()
        if address in found:
            continue
        answer = client.get(address, headers={"accept-encoding": "gzip"})
        assert answer.status_code == 200, address
        found[address] = len(answer.getvalue())
        if address.endswith(".css"):
            sheet = client.get(address).getvalue().decode()
            waiting += [
                urljoin(address, part) for part in re.findall(r'url\("?([^")]+)"?\)', sheet) if "data:" not in part
            ]
    return found


def test_a_file_is_packed_and_kept_for_good(collected: Path) -> None:
    address = staticfiles_storage.url("platform/tokens.css")
    assert re.fullmatch(r"/static/platform/tokens\.[0-9a-f]{12}\.css", address)
    answer = Client().get(address, headers={"accept-encoding": "gzip"})
    assert answer.status_code == 200
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.headers["Cache-Control"] == "max-age=315360000, public, immutable"
    assert answer.headers["Vary"] == "Accept-Encoding"
    plain = Client().get(address)
    assert "Content-Encoding" not in plain.headers
    assert b"--paper" in plain.getvalue()


def test_what_no_page_loads_is_left_out(collected: Path) -> None:
    names = [str(file.relative_to(collected)) for file in collected.rglob("*") if file.is_file()]
    assert len(names) > 100
    assert [
        name for name in names if name.endswith(".map") or "/redoc/" in name or name.startswith("unfold/fonts")
    ] == []


def test_collecting_again_does_nothing_until_a_file_changes(collected: Path) -> None:
    before = (collected / "staticfiles.json").stat().st_mtime_ns
    assert not static_files.collect()
    assert (collected / "staticfiles.json").stat().st_mtime_ns == before


def test_a_file_that_is_not_collected_is_served_from_where_it_lies() -> None:
    """So a process that somebody starts by hand has its pages, without the long life in caches."""
    assert staticfiles_storage.url("platform/tokens.css") == "/static/platform/tokens.css"
    answer = Client().get("/static/platform/tokens.css")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "max-age=60, public"


@pytest.mark.parametrize(
    "page",
    [
        "/admin/",
        "/admin/tenants/tenant/",
        "/admin/tenants/tenant/add/",
        "/admin/billing/plan/add/",
        "/admin/tenants/user/add/",
    ],
)
def test_a_page_of_the_admin_is_light(db: None, collected: Path, page: str) -> None:
    client = staff.signed_in(staff.superuser())
    found = weight(client, page)
    assert len(found) > 10
    assert sum(found.values()) <= 400 * KB, sorted(found.items(), key=lambda item: -item[1])[:8]


@pytest.mark.parametrize(
    ("page", "most"),
    [("/", 80), ("/docs/problems", 80), ("/docs/migrate/v1-v2", 80), ("/docs/v2", 560), ("/docs/nope", 80)],
)
def test_a_page_of_the_documents_is_light(db: None, collected: Path, page: str, most: int) -> None:
    """The reference is Swagger UI, nearly all of it."""
    found = weight(Client(), page)
    assert len(found) >= 4
    assert sum(found.values()) <= most * KB, found
