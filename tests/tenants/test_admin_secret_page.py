"""A secret is shown once, to the browser that made it, on a page that a reload does no harm to."""

import re

import pytest
from django.test import Client

from tenants.models import ApiKey
from tests.conftest import Customer
from tests.support import staff
from tests.support.redis_server import RedisServer

LIST = "/admin/tenants/apikey/"
SECRET = re.compile(r"mlp_live_[0-9A-Za-z]{22}_[0-9A-Za-z]{6}")


@pytest.fixture
def admin(db: None) -> Client:
    return staff.signed_in(staff.superuser())


def rotate(admin: Client, acme: Customer) -> str:
    """The address of the page that shows the new secret."""
    answer = admin.post(f"{LIST}{acme.key.pk}/rotate/", {"overlap": "24"})
    assert answer.status_code == 303
    return answer["Location"]


def test_a_reload_says_that_it_was_shown_and_makes_nothing(admin: Client, acme: Customer) -> None:
    page = rotate(admin, acme)
    assert SECRET.search(admin.get(page).content.decode())
    assert acme.key.secrets.count() == 2
    again = admin.get(page)
    assert not SECRET.search(again.content.decode())
    assert "already shown" in again.content.decode()
    assert acme.key.secrets.count() == 2


def test_another_browser_of_the_same_person_is_not_shown_it(admin: Client, acme: Customer) -> None:
    page = rotate(admin, acme)
    other = Client()
    other.force_login(acme.owner.__class__.objects.get(email="ada@staff.example"))
    assert not SECRET.search(other.get(page).content.decode())
    assert SECRET.search(admin.get(page).content.decode())  # it still waits for the one who made it


def test_the_page_of_another_key_shows_nothing(admin: Client, acme: Customer, globex: Customer) -> None:
    rotate(admin, acme)  # Django's test client sends each cookie everywhere
    assert not SECRET.search(admin.get(f"{LIST}{globex.key.pk}/secret/").content.decode())


def test_the_ticket_is_closed_to_scripts_and_sent_to_its_page_alone(admin: Client, acme: Customer) -> None:
    page = rotate(admin, acme)
    cookie = admin.cookies["secret_ticket"]
    assert cookie["httponly"]
    assert cookie["path"] == page
    assert int(cookie["max-age"]) <= 600


def test_looking_takes_the_right_to_see_keys(acme: Customer) -> None:
    assert staff.signed_in(staff.with_role("")).get(f"{LIST}{acme.key.pk}/secret/").status_code == 403
    assert Client().get(f"{LIST}{acme.key.pk}/secret/").status_code == 302


def test_without_redis_nothing_is_made(admin: Client, acme: Customer, state_redis: RedisServer) -> None:
    form = {"tenant": acme.tenant.pk, "name": "Reports", "mode": "live", "scopes": ["predict"]}
    state_redis.stop()
    try:
        for page in (f"{LIST}add/", f"{LIST}{acme.key.pk}/rotate/"):
            answer = admin.post(page, {**form, "overlap": "0"}, follow=True)
            assert any("Nothing was made" in said for said in staff.said(answer))
    finally:
        state_redis.start()
    assert ApiKey.objects.count() == 1
    assert acme.key.secrets.count() == 1
    assert acme.key.secrets.get().expires_at is None


def test_a_secret_waits_while_redis_is_away(admin: Client, acme: Customer, state_redis: RedisServer) -> None:
    page = rotate(admin, acme)
    state_redis.stop()
    try:
        away = admin.get(page).content.decode()
    finally:
        state_redis.start()
    assert "cannot be read at the moment" in away
    assert SECRET.search(admin.get(page).content.decode())
