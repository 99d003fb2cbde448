import re

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from mlplatform import roles
from tenants import password_links
from tenants.models import User
from tests.conftest import Customer, make_customer
from tests.support import staff

LIST = "/admin/tenants/user/"
NO_MEMBERSHIPS = {"memberships-TOTAL_FORMS": "0", "memberships-INITIAL_FORMS": "0"}


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tasks that were sent, with the person each is for."""
    sent: list[str] = []

    def note(task: str, /, **kwargs: int) -> None:
        sent.append(f"{task} {User.objects.get(pk=kwargs['user_id']).email}")

    monkeypatch.setattr(password_links, "enqueue", note)
    return sent


def test_a_person_is_added_without_a_password_and_mailed_a_link(db: None, offered: list[str]) -> None:
    admin = staff.signed_in(staff.superuser())
    assert "password" not in admin.get(f"{LIST}add/").content.decode().split("<form")[1].lower().replace(
        "set the password", ""
    )
    form = {"email": "New@Acme.example", "full_name": "New", "is_superuser": "on", **NO_MEMBERSHIPS}
    assert admin.post(f"{LIST}add/", form).status_code == 302
    person = User.objects.get(email="new@acme.example")
    assert not person.has_usable_password()
    assert (person.is_staff, person.is_superuser) == (False, False)
    assert offered == ["tenants.send_password_link new@acme.example"]
    page = admin.get(f"{LIST}{person.pk}/change/").content.decode()
    assert "not set yet" in page
    assert 'type="password"' not in page
    again = admin.post(f"{LIST}add/", form)
    assert "with this e-mail address already" in again.content.decode()
    assert User.objects.filter(email__iexact="new@acme.example").count() == 1
    assert len(offered) == 1


def test_who_is_added_to_staff_is_staff(db: None, offered: list[str]) -> None:
    roles.sync()
    admin = staff.signed_in(staff.superuser())
    listed = admin.get(LIST, {"is_staff__exact": "1"}).content.decode()
    (add,) = set(re.findall(rf'href="({LIST}add/[^"]*)"', listed))
    support = Group.objects.get(name="support")
    admin.post(add, {"email": "new@staff.example", "groups": [support.pk]})
    person = User.objects.get(email="new@staff.example")
    assert (person.is_staff, person.is_superuser, list(person.groups.all())) == (True, False, [support])
    assert not person.memberships.exists()


def test_support_adds_members_but_no_staff(db: None, offered: list[str]) -> None:
    support = staff.signed_in(staff.with_role("support"))
    from_staff = f"{LIST}add/?_changelist_filters=is_staff__exact%3D1"
    assert "addlink" not in support.get(LIST, {"is_staff__exact": "1"}).content.decode()
    assert support.post(from_staff, {"email": "new@staff.example", "is_superuser": "on"}).status_code == 403
    support.post(f"{LIST}add/", {"email": "new@acme.example", "is_staff": "on", "is_superuser": "on", **NO_MEMBERSHIPS})
    assert not User.objects.filter(email="new@staff.example").exists()
    assert not User.objects.get(email="new@acme.example").is_staff


def test_a_link_is_mailed_again_to_members_by_support_and_to_staff_by_a_superuser(
    acme: Customer, offered: list[str]
) -> None:
    ada = staff.superuser()
    support = staff.signed_in(staff.with_role("support"))
    for person, status in ((acme.owner, 302), (ada, 403)):
        answer = support.post(f"{LIST}{person.pk}/password_link/", {"confirmed": "yes"})
        assert answer.status_code == status
    assert offered == ["tenants.send_password_link owner@acme.example"]
    User.objects.filter(pk=acme.owner.pk).update(is_active=False)
    assert "password_link" not in support.get(f"{LIST}{acme.owner.pk}/change/").content.decode()


def test_support_changes_members_but_raises_no_role(acme: Customer) -> None:
    support = staff.signed_in(staff.with_role("support"))
    raised = {
        "email": acme.owner.email,
        "full_name": "Renamed",
        "is_active": "on",
        "is_staff": "on",
        "is_superuser": "on",
    }
    answer = support.post(f"{LIST}{acme.owner.pk}/change/", {**raised, **NO_MEMBERSHIPS})
    assert answer.status_code == 302
    owner = User.objects.get(pk=acme.owner.pk)
    assert owner.full_name == "Renamed"
    assert not owner.is_staff
    assert not owner.is_superuser


@pytest.mark.parametrize("page", ["change/", "password/", "delete/"])
def test_support_can_neither_change_staff_nor_their_passwords(db: None, page: str) -> None:
    ada = staff.superuser()
    support = staff.signed_in(staff.with_role("support"))
    form = {"email": "mine@evil.example", "password1": "long enough 17", "password2": "long enough 17", "post": "yes"}
    assert (
        support.post(f"{LIST}{ada.pk}/{page}", {**form, "usable_password": "true", **NO_MEMBERSHIPS}).status_code == 403
    )
    after = User.objects.get(pk=ada.pk)
    assert (after.email, after.password) == (ada.email, ada.password)


def test_support_cannot_change_itself_into_more(db: None) -> None:
    person = staff.with_role("support")
    answer = staff.signed_in(person).post(f"{LIST}{person.pk}/change/", {"is_superuser": "on", **NO_MEMBERSHIPS})
    assert answer.status_code == 403
    assert not User.objects.get(pk=person.pk).is_superuser


def test_the_list_costs_the_same_queries_with_one_row_and_with_ten(acme: Customer) -> None:
    admin = staff.signed_in(staff.superuser())
    admin.get(LIST)  # what a process keeps in memory is read
    with CaptureQueriesContext(connection) as few:
        admin.get(LIST)
    for number in range(9):
        make_customer(f"more-{number}")
    with CaptureQueriesContext(connection) as many:
        page = admin.get(LIST)
    assert b"owner@more-8.example" in page.content
    assert len(many) == len(few)


def test_an_anonymous_visitor_is_sent_to_sign_in(db: None) -> None:
    answer = Client().get(LIST)
    assert answer.status_code == 302
    assert answer["Location"].startswith("/admin/login/")
