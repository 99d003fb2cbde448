"""The history of a row includes what belongs to it: members, plans, keys, their secrets and limits, also when they are gone."""

import pytest
from auditlog.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from billing.models import Counts, LimitKind, LimitRule, Plan, Subscription
from inference.models import MLModel
from tenants import api_keys
from tenants.models import Membership, User
from tests.conftest import Customer, make_customer
from tests.support import staff


@pytest.fixture
def acme(db: None) -> Customer:
    return make_customer("acme", audited=True)


@pytest.fixture
def admin(db: None) -> Client:
    return staff.signed_in(staff.superuser())


def history(client: Client, page: str) -> list[str]:
    """What the entries are about, the newest first."""
    answer = client.get(f"/admin/{page}/history/", follow=True)
    assert answer.status_code == 200
    return [str(entry) for entry in answer.context["cl"].result_list]


def about(client: Client, page: str) -> set[str]:
    answer = client.get(f"/admin/{page}/history/", follow=True)
    return {f"{entry.content_type.model} {entry.get_action_display()}" for entry in answer.context["cl"].result_list}


def test_members_plans_keys_and_what_belongs_to_them_are_in_a_tenants_history(admin: Client, acme: Customer) -> None:
    page = f"tenants/tenant/{acme.tenant.pk}"
    LogEntry.objects.all().delete()
    member = Membership.objects.create(
        tenant=acme.tenant, user=User.objects.create_user("dev@acme.example"), role="developer"
    )
    Subscription.objects.create(tenant=acme.tenant, plan=Plan.objects.create(name="Pro"))
    issued = api_keys.issue(tenant=acme.tenant, name="Nightly")
    LimitRule.objects.create(key=issued.key, name="mine", kind=LimitKind.CONCURRENCY, amount=4, counts=Counts.REQUESTS)
    MLModel.objects.create(name="own", owner=acme.tenant)
    api_keys.revoke(key=issued.key)
    acme.tenant.name = "Acme Limited"
    acme.tenant.save()
    assert about(admin, page) == {
        "tenant update", "membership create", "subscription create", "apikey create", "apikey update", "apikeysecret create",
        "limitrule create", "mlmodel create",
    }  # fmt: skip
    member.delete()
    assert about(admin, page) >= {"membership create", "membership delete"}


def test_another_tenants_changes_are_not_in_it(admin: Client, acme: Customer, globex: Customer) -> None:
    """Ids of rows are small numbers: a membership with the id of a tenant is no tenant."""
    before = history(admin, f"tenants/tenant/{acme.tenant.pk}")
    api_keys.rotate(key=globex.key)
    Membership.objects.get(tenant=globex.tenant).delete()
    assert history(admin, f"tenants/tenant/{acme.tenant.pk}") == before
    assert any("Globex" in line for line in history(admin, f"tenants/tenant/{globex.tenant.pk}"))


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("tenants/apikey/{key}", {"apikey create", "apikeysecret create", "apikeysecret update"}),
        ("billing/plan/{plan}", {"plan create", "limitrule create", "subscription create"}),
        ("tenants/user/{owner}", {"user create", "membership create"}),
    ],
)
def test_every_page_has_the_history_of_what_belongs_to_its_row(
    admin: Client, acme: Customer, page: str, expected: set[str]
) -> None:
    api_keys.rotate(key=acme.key)
    pks = {"key": acme.key.pk, "plan": acme.plan.pk, "owner": acme.owner.pk}
    assert about(admin, page.format(**pks)) == expected


def test_it_says_whose_history_it_is_and_leads_back(admin: Client, acme: Customer) -> None:
    page = f"/admin/tenants/tenant/{acme.tenant.pk}/"
    answer = admin.get(f"{page}history/", follow=True)
    assert f'History of <a class="p-link" href="{page}change/">Acme</a>' in answer.content.decode()


@pytest.mark.parametrize(
    "address", ["tenants.tenant:999999", "tenants.nothing:1", "billing.usagerecord:1", "x", "auth.group:1"]
)
def test_of_a_row_that_is_none_nothing_is_told(admin: Client, acme: Customer, address: str) -> None:
    answer = admin.get("/admin/auditlog/logentry/", {"about": address})
    assert answer.status_code in {200, 302}
    if answer.status_code == 200:
        assert b"History of" not in answer.content


def test_it_costs_few_queries_however_much_belongs_to_the_row(admin: Client, acme: Customer) -> None:
    address = {"about": f"tenants.tenant:{acme.tenant.pk}"}
    admin.get("/admin/auditlog/logentry/", address)  # content types are remembered
    with CaptureQueriesContext(connection) as few:
        admin.get("/admin/auditlog/logentry/", address)
    for number in range(9):
        api_keys.issue(tenant=acme.tenant, name=f"Key {number}")
    with CaptureQueriesContext(connection) as many:
        admin.get("/admin/auditlog/logentry/", address)
    assert len(few) == len(many) <= 15
