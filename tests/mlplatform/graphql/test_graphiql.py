"""The page to try GraphQL: who may see it, under which policy, and that its files are those of their packages."""

import hashlib
import json
from pathlib import Path

import pytest
from django.test import Client

import mlplatform
from tenants.models import User
from tests.conftest import Customer
from tests.support import staff

FILES = Path(mlplatform.__file__).parent / "static" / "graphiql"
HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def test_files_are_those_of_their_packages() -> None:
    manifest = json.loads((FILES / "MANIFEST.json").read_text())["files"]
    own = {"MANIFEST.json", "page.js", "page.css"}
    assert {file.name for file in FILES.iterdir()} - own == set(manifest)
    for name, entry in manifest.items():
        assert hashlib.sha256((FILES / name).read_bytes()).hexdigest() == entry["sha256"], name
    assert sum(file.stat().st_size for file in FILES.iterdir()) < 3_000_000


@pytest.mark.django_db
def test_who_is_not_signed_in_is_led_to_the_way_in(client: Client) -> None:
    answer = client.get("/graphql", headers=HTML)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/login/?next=%2Fgraphql")


@pytest.mark.django_db
def test_staff_and_members_see_it_and_others_do_not(acme: Customer, client: Client) -> None:
    stranger = User.objects.create_user("stranger@nowhere.example", "correct horse battery")
    for user, status in ((acme.owner, 200), (staff.superuser(), 200), (stranger, 403)):
        client.force_login(user)
        page = client.get("/graphql", headers=HTML)
        assert page.status_code == status
        assert ("graphiql.min.js" in page.content.decode()) == (status == 200)


@pytest.mark.django_db
def test_it_loads_nothing_from_elsewhere(acme: Customer, client: Client) -> None:
    client.force_login(acme.owner)
    page = client.get("/graphql", headers=HTML)
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "script-src" not in policy  # so it is the default: from here only
    assert "unsafe-eval" not in policy
    assert "http" not in policy
    text = page.content.decode()
    assert "//" not in text.replace("<!--", "")
    assert page.headers["Cache-Control"].startswith("max-age=0")


@pytest.mark.django_db
def test_programs_that_ask_for_anything_get_no_page(acme: Customer, client: Client) -> None:
    client.force_login(acme.owner)
    for accept in ("", "*/*", "application/json", "application/json, text/html;q=0.5"):
        answer = client.get("/graphql", headers={"accept": accept} if accept else {})
        assert (answer.status_code, answer.headers["Content-Type"]) == (400, "application/json; charset=utf-8")
