import pytest
from django.test import Client
from pytest_django import Settings

from tenants import logins
from tests.support import staff
from tests.support.redis_server import RedisServer

PAGE = "/admin/login/"


def sign_in(client: Client, email: str, password: str = staff.PASSWORD, **meta: str) -> str:
    """The page that answers, or where it sends."""
    answer = client.post(PAGE, {"username": email, "password": password, "next": "/admin/"}, **meta)  # type: ignore[arg-type]
    return answer["Location"] if answer.status_code == 302 else answer.content.decode()


@pytest.fixture(autouse=True)
def ada(db: None) -> None:
    staff.superuser()


def test_staff_sign_in_with_their_address_in_any_case() -> None:
    assert sign_in(Client(), "Ada@Staff.Example") == "/admin/"


def test_the_page_itself_leads_to_the_start_page() -> None:
    assert '<input type="hidden" name="next" value="/admin/"' in Client().get(PAGE).content.decode()


def test_too_many_tries_for_one_account_are_refused_with_the_wait(settings: Settings) -> None:
    settings.LOGINS_PER_ACCOUNT = "3/h"
    for number in range(3):
        assert "correct email and password" in sign_in(
            Client(), "ada@staff.example", "wrong", REMOTE_ADDR=f"203.0.113.{number}"
        )
    # The right password from yet another address, written in another case, is not even looked at.
    client = Client()
    answer = sign_in(client, "ADA@staff.example", REMOTE_ADDR="203.0.113.99")
    assert "Too many attempts to sign in. Please wait" in answer
    assert "_auth_user_id" not in client.session
    assert sign_in(Client(), "somebody@staff.example", "x", REMOTE_ADDR="203.0.113.99").count("Too many") == 0


def test_a_stranger_locks_no_user_out_of_a_browser_that_signed_in_before(settings: Settings) -> None:
    settings.LOGINS_PER_ACCOUNT = "3/h"
    settings.LOGINS_PER_ADDRESS = "5/h"
    browser = Client()
    assert sign_in(browser, "ada@staff.example") == "/admin/"
    cookie = browser.cookies[logins.COOKIE]
    assert (cookie["httponly"], cookie["samesite"], "ada" in cookie.value) == (True, "Lax", False)
    browser.post("/admin/logout/")
    for _ in range(6):  # Behind the same address as Ada, at her account, then at others.
        sign_in(Client(), "ada@staff.example", "wrong")
    assert "Too many attempts" in sign_in(Client(), "ada@staff.example")
    assert sign_in(browser, "ADA@staff.example") == "/admin/"
    # It is one more way to guess for a thief of the browser, and is bounded as such.
    for _ in range(3):
        sign_in(browser, "ada@staff.example", "wrong")
    assert "Too many attempts" in sign_in(browser, "ada@staff.example")


def test_a_browser_is_known_to_the_account_that_it_signed_in_to_alone(settings: Settings) -> None:
    settings.LOGINS_PER_ACCOUNT = "2/h"
    browser = Client()
    assert sign_in(browser, "ada@staff.example") == "/admin/"
    for _ in range(2):
        sign_in(Client(), "bob@staff.example", "wrong")
    assert "Too many attempts" in sign_in(browser, "bob@staff.example", "wrong")
    sign_in(Client(), "ada@staff.example", "wrong")
    for forged in ("", "x", browser.cookies[logins.COOKIE].value[:-1] + "_", "W10:1:1"):
        stranger = Client()
        stranger.cookies[logins.COOKIE] = forged
        assert "Too many attempts" in sign_in(stranger, "ada@staff.example")


def test_a_wrong_password_makes_no_browser_known() -> None:
    browser = Client()
    sign_in(browser, "ada@staff.example", "wrong")
    assert logins.COOKIE not in browser.cookies


def test_too_many_tries_from_one_address_are_refused(settings: Settings) -> None:
    settings.LOGINS_PER_ADDRESS = "3/h"
    for number in range(3):
        assert "Too many" not in sign_in(Client(), f"guess{number}@staff.example", "wrong")
    assert "Too many attempts" in sign_in(Client(), "ada@staff.example")
    assert sign_in(Client(), "ada@staff.example", REMOTE_ADDR="203.0.113.1") == "/admin/"


def test_a_forged_forwarding_header_is_no_other_address(settings: Settings) -> None:
    settings.LOGINS_PER_ADDRESS = "2/h"
    for number in range(2):
        sign_in(Client(), f"guess{number}@staff.example", "wrong", HTTP_X_FORWARDED_FOR=f"198.51.100.{number}")
    assert "Too many attempts" in sign_in(Client(), "ada@staff.example", HTTP_X_FORWARDED_FOR="198.51.100.9")


def test_signing_in_is_closed_while_tries_cannot_be_counted(state_redis: RedisServer) -> None:
    state_redis.stop()
    client = Client()
    assert "Signing in is not possible at the moment" in sign_in(client, "ada@staff.example")
    assert "_auth_user_id" not in client.session
    state_redis.start()
    assert sign_in(Client(), "ada@staff.example") == "/admin/"
