import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tenants.models import User
from tests.conftest import Customer, make_customer
from tests.support import staff

LIST = "/admin/tenants/user/"
NO_MEMBERSHIPS = {"memberships-TOTAL_FORMS": "0", "memberships-INITIAL_FORMS": "0"}


def test_a_person_is_added_with_an_address_in_lower_case(db: None) -> None:
    admin = staff.signed_in(staff.superuser())
    form = {"email": "New@Acme.example", "full_name": "New", "usable_password": "true", **NO_MEMBERSHIPS}
    answer = admin.post(f"{LIST}add/", {**form, "password1": "long enough 17", "password2": "long enough 17"})
    assert answer.status_code == 302
    assert User.objects.get(email="new@acme.example").check_password("long enough 17")
    again = admin.post(f"{LIST}add/", {**form, "password1": "long enough 17", "password2": "long enough 17"})
    assert "with this e-mail address already" in again.content.decode()
    assert User.objects.filter(email__iexact="new@acme.example").count() == 1


def test_support_changes_members_but_raises_nobody(acme: Customer) -> None:
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
