import datetime as dt

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from billing.models import Subscription
from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants import authentication, tenancy
from tenants.models import ApiKey, Tenant, TenantStatus
from tests.conftest import Customer, make_customer
from tests.support import staff

LIST = "/admin/tenants/tenant/"


@pytest.fixture
def admin(db: None) -> Client:
    return staff.signed_in(staff.superuser())


def inlines(**more: str) -> dict[str, str]:
    """The management forms of the page's inlines, which hold no row."""
    return staff.no_rows("memberships", "subscriptions", "limits") | more


def test_the_list_answers_who_is_on_which_plan(admin: Client, acme: Customer) -> None:
    page = admin.get(LIST).content.decode()
    assert "Acme" in page
    assert acme.plan.name in page
    assert ">Active<" in "".join(page.split())


def test_the_list_costs_the_same_queries_with_one_row_and_with_ten(admin: Client, acme: Customer) -> None:
    admin.get(LIST)  # what a process keeps in memory is read
    with CaptureQueriesContext(connection) as one:
        admin.get(LIST)
    for number in range(9):
        make_customer(f"more-{number}")
    with CaptureQueriesContext(connection) as ten:
        page = admin.get(LIST)
    assert b"More-8" in page.content
    assert len(ten) == len(one)


def test_a_saved_form_tells_other_processes(admin: Client, acme: Customer) -> None:
    before = Tenant.objects.get(pk=acme.tenant.pk).version
    admin.post(f"{LIST}{acme.tenant.pk}/change/", inlines(name="Acme Limited", default_model=""))
    after = Tenant.objects.get(pk=acme.tenant.pk)
    assert (after.name, after.slug) == ("Acme Limited", "acme")
    assert after.version > before


def test_suspending_asks_first(admin: Client, acme: Customer) -> None:
    page = f"{LIST}{acme.tenant.pk}/suspend/"
    answer = admin.get(page)
    assert "Refuse every API key of Acme?" in answer.content.decode()
    admin.post(page)  # without the confirmation of the form
    assert Tenant.objects.get().status == TenantStatus.ACTIVE


def test_a_confirmed_suspension_refuses_the_tenants_keys(admin: Client, acme: Customer) -> None:
    answer = admin.post(f"{LIST}{acme.tenant.pk}/suspend/", {"confirmed": "yes"}, follow=True)
    assert staff.said(answer) == ["Suspended: Acme."]
    with pytest.raises(PlatformError) as refused:
        authentication.authenticate(acme.secret, address="127.0.0.1", fresh=True)
    assert refused.value.kind == ErrorKind.FORBIDDEN


def test_a_suspended_tenant_is_resumed(admin: Client, acme: Customer) -> None:
    tenancy.suspend(tenant=acme.tenant)
    admin.post(f"{LIST}{acme.tenant.pk}/resume/", {"confirmed": "yes"})
    assert authentication.authenticate(acme.secret, address="127.0.0.1", fresh=True).tenant_slug == "acme"


def test_several_tenants_are_suspended_after_one_question(admin: Client, acme: Customer, globex: Customer) -> None:
    chosen = {"action": "suspend_selected", "_selected_action": [acme.tenant.pk, globex.tenant.pk]}
    question = admin.post(LIST, chosen).content.decode()
    assert "Acme" in question
    assert "Globex" in question
    assert not Tenant.objects.filter(status=TenantStatus.SUSPENDED).exists()
    admin.post(LIST, {**chosen, "confirmed": "yes"})
    assert Tenant.objects.filter(status=TenantStatus.SUSPENDED).count() == 2


def test_a_tenant_cannot_be_deleted(admin: Client, acme: Customer) -> None:
    assert admin.post(f"{LIST}{acme.tenant.pk}/delete/", {"post": "yes"}).status_code == 403
    assert Tenant.objects.filter(pk=acme.tenant.pk).exists()
    assert ApiKey.objects.filter(pk=acme.key.pk).exists()


def test_the_plan_filter_counts_only_the_plan_now(admin: Client, acme: Customer, globex: Customer) -> None:
    Subscription.objects.create(tenant=globex.tenant, plan=acme.plan, starts_at=clock.now() - dt.timedelta(days=99))
    found = admin.get(LIST, {"plan_now": acme.plan.name}).context["cl"].result_list
    assert [tenant.slug for tenant in found] == ["acme"]


def test_the_history_of_a_row_is_its_audit_log(admin: Client, acme: Customer) -> None:
    acme.tenant.name = "Acme and Daughters"
    acme.tenant.save()
    answer = admin.get(f"{LIST}{acme.tenant.pk}/history/", follow=True)
    assert answer.redirect_chain[0][0].startswith("/admin/auditlog/logentry/?")
    assert answer.status_code == 200
    assert answer.context["cl"].result_count >= 1
