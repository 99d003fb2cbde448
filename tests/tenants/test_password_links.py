"""A person sets the password by a link in a mail; the link works once, for its person, for three days."""

import re

import pytest
from django.core import mail
from django.test import Client
from pytest_django import Settings

from mlplatform.lib.errors import PlatformError
from tenants import password_links
from tenants.models import User
from tenants.tasks import send_password_link
from tests.conftest import Customer

PASSWORD = "a long one of 17 letters"


@pytest.fixture
def person(acme: Customer) -> User:
    """The owner before the first link: without any password."""
    acme.owner.set_unusable_password()
    acme.owner.save()
    return acme.owner


def mailed_link(person: User) -> str:
    mail.outbox.clear()
    assert send_password_link(user_id=person.pk)
    (letter,) = mail.outbox
    assert letter.to == [person.email]
    link = re.search(r"https?://\S+", str(letter.body))
    assert link
    return link[0]


def opened(browser: Client, link: str) -> tuple[str, str]:
    """The page that the link leads to, and its address, which holds no token."""
    answer = browser.get(re.sub(r"^https?://[^/]+", "", link), follow=True)
    address = answer.redirect_chain[-1][0] if answer.redirect_chain else ""
    return answer.content.decode(), address


def set_password(browser: Client, address: str, password: str = PASSWORD, again: str = PASSWORD) -> str:
    fields = {"new_password1": password, "new_password2": again}
    return browser.post(address, fields, follow=True).content.decode()


def test_the_owner_sets_a_password_and_signs_in(person: User) -> None:
    browser = Client()
    page, address = opened(browser, mailed_link(person))
    assert person.email in page
    assert "Your password is set" in set_password(browser, address)
    person.refresh_from_db()
    assert person.check_password(PASSWORD)
    assert Client().login(email=person.email, password=PASSWORD)


def test_a_link_works_once(person: User) -> None:
    link = mailed_link(person)
    browser = Client()
    set_password(browser, opened(browser, link)[1])
    page, _ = opened(Client(), link)
    assert "works no more" in page
    assert "new_password1" not in page


def test_a_link_works_for_three_days(person: User, settings: Settings) -> None:
    link = mailed_link(person)
    settings.PASSWORD_RESET_TIMEOUT = -1
    assert "works no more" in opened(Client(), link)[0]


def test_a_link_of_one_person_sets_no_password_of_another(person: User, globex: Customer) -> None:
    own, other = mailed_link(person), mailed_link(globex.owner)
    mixed = other.rsplit("/", 1)[0] + "/" + own.rsplit("/", 1)[1]
    before = User.objects.get(pk=globex.owner.pk).password
    assert "works no more" in opened(Client(), mixed)[0]
    assert User.objects.get(pk=globex.owner.pk).password == before


@pytest.mark.parametrize(
    ("password", "again"), [("short", "short"), ("password1234", "password1234"), (PASSWORD, "x" * 20)]
)
def test_a_bad_password_is_refused_with_the_reason(person: User, password: str, again: str) -> None:
    browser = Client()
    _, address = opened(browser, mailed_link(person))
    page = set_password(browser, address, password, again)
    assert 'role="alert"' in page or "aria-invalid" in page
    person.refresh_from_db()
    assert not person.has_usable_password()


def test_the_letter_says_whose_member_it_is_and_holds_no_password(person: User) -> None:
    mailed_link(person)
    letter = mail.outbox[0]
    assert isinstance(letter, mail.EmailMultiAlternatives)
    html = str(letter.alternatives[0][0])
    for text in (str(letter.body), html):
        assert "Acme" in text
        assert "3 days" in text
    assert person.password not in html


def test_the_blocked_and_the_gone_are_mailed_nothing(person: User) -> None:
    User.objects.filter(pk=person.pk).update(is_active=False)
    assert not send_password_link(user_id=person.pk)
    assert not send_password_link(user_id=person.pk + 99)
    assert mail.outbox == []


def test_people_are_found_by_their_address_or_made(person: User, globex: Customer) -> None:
    assert password_links.person(email=f" {person.email.upper()} ") == (person, True)  # it has no password yet
    assert password_links.person(email=globex.owner.email) == (globex.owner, False)
    made, invited = password_links.person(email="new@acme.example")
    assert (made.email, invited, made.has_usable_password()) == ("new@acme.example", True, False)
    with pytest.raises(PlatformError, match="no e-mail address"):
        password_links.person(email="new at acme")
    User.objects.filter(pk=made.pk).update(is_active=False)
    with pytest.raises(PlatformError, match="blocked"):
        password_links.person(email="new@acme.example")


def test_the_page_is_not_kept_by_caches(person: User) -> None:
    browser = Client()
    _, address = opened(browser, mailed_link(person))
    assert "no-store" in browser.get(address)["Cache-Control"]
