"""New customer: tenant, owner, plan and first key on one page, all or nothing; staff type no password."""

import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from billing import contracts
from billing.models import Plan, Subscription
from tenants import authentication, password_links, tenancy
from tenants.models import ApiKey, Membership, Role, Tenant, User
from tests.conftest import Customer
from tests.support import staff
from tests.support.redis_server import RedisServer

PAGE = "/admin/tenants/tenant/add/"


@pytest.fixture
def admin(db: None) -> Client:
    return staff.signed_in(staff.superuser())


@pytest.fixture
def mailed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Who is mailed a link."""
    sent: list[int] = []
    monkeypatch.setattr(password_links, "enqueue", lambda task, /, **kwargs: sent.append(kwargs["user_id"]))
    return sent


def fields(**more: object) -> dict[str, Any]:
    return {"name": "Initech", "owner_email": "Bill@Initech.example", "key_name": "Production", **more}


def test_one_form_makes_all_of_it_and_the_secret_is_shown_next(admin: Client, mailed: list[int]) -> None:
    plan = Plan.objects.create(name="Starter", included_units=1000)
    assert 'type="password"' not in admin.get(PAGE).content.decode()
    answer = admin.post(PAGE, fields(plan=plan.pk))
    assert answer.status_code == 303
    page = admin.get(answer["Location"]).content.decode()
    secret = re.search(r"mlp_live_\w{22}_\w{6}", page)
    assert secret
    assert "bill@initech.example is its owner and is mailed a link" in page
    tenant = Tenant.objects.get(slug="initech")
    assert tenant.shard == tenancy.shard_of("initech")
    member = Membership.objects.get(tenant=tenant)
    assert (member.user.email, member.role) == ("bill@initech.example", Role.OWNER)
    assert not member.user.has_usable_password()
    assert mailed == [member.user.pk]
    caller = authentication.authenticate(secret[0], address="127.0.0.1")
    assert (caller.tenant_slug, contracts.contract_of(caller).plan_name) == ("initech", "Starter")


def test_the_first_plan_is_offered_and_archived_ones_are_not(admin: Client) -> None:
    Plan.objects.create(name="Old", archived=True)
    cheapest = Plan.objects.create(name="Starter")
    Plan.objects.create(name="Pro", monthly_fee=99)
    form = admin.get(PAGE).context["form"]
    assert form.fields["plan"].initial == cheapest
    assert [plan.name for plan in form.fields["plan"].queryset] == ["Starter", "Pro"]


def test_an_owner_with_a_password_is_mailed_nothing(admin: Client, acme: Customer, mailed: list[int]) -> None:
    admin.post(PAGE, fields(owner_email=acme.owner.email))
    assert Membership.objects.filter(user=acme.owner, tenant__slug="initech").exists()
    assert User.objects.get(pk=acme.owner.pk).check_password("correct horse battery")
    assert mailed == []


def test_without_owner_and_key_it_leads_to_the_tenants_page(admin: Client, mailed: list[int]) -> None:
    answer = admin.post(PAGE, fields(owner_email="", key_name=""))
    tenant = Tenant.objects.get(slug="initech")
    assert answer["Location"] == f"/admin/tenants/tenant/{tenant.pk}/change/"
    assert not ApiKey.objects.exists()
    assert mailed == []


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"name": ""}, "This field is required"),
        ({"slug": "acme"}, "There is a tenant &#x27;acme&#x27; already."),
        ({"name": "Acme"}, "There is a tenant &#x27;acme&#x27; already."),
        ({"slug": "a b"}, "Enter a valid “slug”"),
        ({"name": "東京"}, "this name has none"),
        ({"owner_email": "bill at initech"}, "Enter a valid email address"),
        ({"owner_email": "gone@acme.example"}, "is blocked"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_made(
    admin: Client, acme: Customer, mailed: list[int], wrong: dict[str, object], reason: str
) -> None:
    User.objects.create_user("gone@acme.example", is_active=False)
    people = User.objects.count()
    answer = admin.post(PAGE, fields(**wrong))
    assert answer.status_code == 200
    assert reason in answer.content.decode()
    assert list(Tenant.objects.all()) == [acme.tenant]
    assert User.objects.count() == people
    assert ApiKey.objects.count() == 1


def test_without_redis_nothing_is_made(admin: Client, mailed: list[int], state_redis: RedisServer) -> None:
    state_redis.stop()
    try:
        answer = admin.post(PAGE, fields())
    finally:
        state_redis.start()
    assert "Nothing was made" in answer.content.decode()
    assert not Tenant.objects.exists()
    assert not User.objects.filter(email="bill@initech.example").exists()


def test_support_gives_no_plan_and_billing_makes_no_customer(db: None, mailed: list[int]) -> None:
    plan = Plan.objects.create(name="Starter", included_units=1000)
    support = staff.signed_in(staff.with_role("support"))
    assert "chosen by a colleague" in support.get(PAGE).content.decode()
    assert support.post(PAGE, fields(plan=plan.pk)).status_code == 303
    assert not Subscription.objects.exists()
    billing = staff.signed_in(staff.with_role("billing"))
    assert billing.post(PAGE, fields(name="Globex")).status_code == 403
    assert not Tenant.objects.filter(name="Globex").exists()


def test_the_page_costs_few_queries(admin: Client) -> None:
    with CaptureQueriesContext(connection) as queries:
        admin.get(PAGE)
    assert len(queries) <= 15
