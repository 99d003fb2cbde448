"""The page of a tenant answers what staff are asked about a customer; its form is a tab away."""

import datetime as dt

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from billing.models import Plan, Subscription, UsageRollup, VersionUse
from mlplatform.lib import clock
from tenants import api_keys, tenancy
from tenants.models import ApiKey, Membership, Tenant, User
from tests.conftest import Customer
from tests.support import staff
from tests.support.ending import make_schedule
from tests.support.redis_server import RedisServer
from tests.support.refusing import refuse


@pytest.fixture
def admin(db: None) -> Client:
    return staff.signed_in(staff.superuser())


def page_of(client: Client, customer: Customer, tab: str = "change") -> str:
    answer = client.get(f"/admin/tenants/tenant/{customer.tenant.pk}/{tab}/")
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def test_it_tells_plan_units_calls_limits_refusals_keys_and_people(admin: Client, acme: Customer) -> None:
    today = clock.now().date()
    UsageRollup.objects.create(
        day=today, tenant=acme.tenant, key_uid=acme.key.uid, model="digits", units=850_000, calls=812, inputs=812
    )
    refuse(acme, "req-42")
    page = page_of(admin, acme)
    for told in (
        "Plan of acme", "850,000", "85.0 % of 1,000,000 included", "812", "1,000 units, refilled 100 a second",
        "asked 5,000, had 1,000", "find/?request_id=req-42", "Production", acme.secret[-4:], "owner@acme.example", "Owner",
    ):  # fmt: skip
        assert told in page, told
    assert acme.secret not in page


def test_it_tells_what_ends_first(admin: Client, acme: Customer) -> None:
    now = clock.now()
    soon = api_keys.issue(tenant=acme.tenant, name="Nightly")
    ApiKey.objects.filter(pk=soon.key.pk).update(expires_at=now + dt.timedelta(days=5))
    api_keys.rotate(key=acme.key, overlap=dt.timedelta(days=1))
    next_plan = Plan.objects.create(name="Bigger", included_units=5)
    Subscription.objects.create(tenant=acme.tenant, plan=next_plan, starts_at=now + dt.timedelta(days=10))
    for subject in ("v1", "v1.1"):
        make_schedule(subject=subject)
    VersionUse.objects.create(
        day=now.date(), tenant=acme.tenant, key_uid=acme.key.uid, api_version="v1", calls=812, last_call_at=now
    )
    page = page_of(admin, acme)
    told = [
        "of Production stops working",
        "The key Nightly expires",
        "The plan Bigger begins",
        "v1 ends; 812 calls in 30 days",
    ]
    places = [page.index(text) for text in told]
    assert places == sorted(places)
    assert "v1.1 ends" not in page  # acme does not call it


def test_the_form_is_on_a_tab_and_leads_back(admin: Client, acme: Customer) -> None:
    assert 'name="name"' not in page_of(admin, acme)
    edit = page_of(admin, acme, "edit")
    assert 'name="name" value="Acme"' in edit
    form = staff.no_rows("memberships", "subscriptions", "limits") | {"name": "Acme Limited", "default_model": ""}
    answer = admin.post(f"/admin/tenants/tenant/{acme.tenant.pk}/edit/", form)
    assert answer["Location"] == f"/admin/tenants/tenant/{acme.tenant.pk}/change/"
    assert Tenant.objects.get(pk=acme.tenant.pk).name == "Acme Limited"


def test_it_costs_few_queries_however_much_there_is(admin: Client, acme: Customer) -> None:
    page_of(admin, acme)
    with CaptureQueriesContext(connection) as little:
        page_of(admin, acme)
    for number in range(6):
        api_keys.issue(tenant=acme.tenant, name=f"Key {number}")
        user = User.objects.create_user(f"dev{number}@acme.example")
        Membership.objects.create(tenant=acme.tenant, user=user, role="developer")
        refuse(acme, f"req-{number}")
    with CaptureQueriesContext(connection) as much:
        page_of(admin, acme)
    assert len(much) - len(little) <= 1  # the names of the keys that were refused
    assert len(much) <= 15


def test_the_form_costs_the_same_queries_with_many_members_and_plans(admin: Client, acme: Customer) -> None:
    page_of(admin, acme, "edit")
    with CaptureQueriesContext(connection) as few:
        page_of(admin, acme, "edit")
    for number in range(6):
        user = User.objects.create_user(f"dev{number}@acme.example")
        Membership.objects.create(tenant=acme.tenant, user=user, role="developer")
        plan = Plan.objects.create(name=f"Plan {number}")
        Subscription.objects.create(tenant=acme.tenant, plan=plan, starts_at=clock.now() + dt.timedelta(days=number))
    with CaptureQueriesContext(connection) as many:
        assert "dev5@acme.example" in page_of(admin, acme, "edit")
    assert len(few) == len(many) <= 15


def test_a_members_role_is_changed_and_the_member_stays(admin: Client, acme: Customer, globex: Customer) -> None:
    member = Membership.objects.get(tenant=acme.tenant)
    form = staff.no_rows("subscriptions", "limits") | {
        "name": "Acme", "default_model": "", "memberships-TOTAL_FORMS": "1", "memberships-INITIAL_FORMS": "1",
        "memberships-0-id": str(member.pk), "memberships-0-tenant": str(acme.tenant.pk),
        "memberships-0-user": str(globex.owner.pk), "memberships-0-role": "viewer",
    }  # fmt: skip
    assert admin.post(f"/admin/tenants/tenant/{acme.tenant.pk}/edit/", form).status_code == 302
    member.refresh_from_db()
    assert (member.user, member.role) == (acme.owner, "viewer")


def test_a_suspended_tenant_says_so(admin: Client, acme: Customer) -> None:
    assert "every key is refused" not in page_of(admin, acme)
    tenancy.suspend(tenant=acme.tenant)
    assert "Suspended: every key is refused" in page_of(admin, acme)


def test_without_redis_the_rest_is_told(admin: Client, acme: Customer, state_redis: RedisServer) -> None:
    state_redis.stop()
    try:
        page = page_of(admin, acme)
    finally:
        state_redis.start()
    assert page.count("Unknown: the state Redis does not answer.") == 2
    assert "Plan of acme" in page
    assert "Production" in page


def test_a_role_reads_what_it_may(acme: Customer) -> None:
    billing = staff.signed_in(staff.with_role("billing"))
    page = page_of(billing, acme)
    assert "Issue a key" not in page
    assert "/admin/tenants/user/" not in page.split("<main")[-1].split('class="p-halves')[-1].split("People")[-1]
    stranger = staff.signed_in(staff.with_role(""))
    assert stranger.get(f"/admin/tenants/tenant/{acme.tenant.pk}/change/").status_code == 403


def test_a_tenant_that_is_none_leads_back_to_the_list(admin: Client, acme: Customer) -> None:
    assert admin.get("/admin/tenants/tenant/999999/change/").status_code == 302
    assert admin.get("/admin/tenants/tenant/999999/edit/").status_code == 302
