import datetime as dt

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from billing.models import LimitRule, Plan, Subscription
from mlplatform.lib import clock
from tenants.models import ApiKey, Tenant
from tests.conftest import Customer
from tests.support import staff

PLANS, LIMITS, SUBSCRIPTIONS = "/admin/billing/plan/", "/admin/billing/limitrule/", "/admin/billing/subscription/"


@pytest.fixture
def admin(db: None) -> Client:
    return staff.signed_in(staff.superuser())


def version_of(tenant: Tenant) -> int:
    return Tenant.objects.get(pk=tenant.pk).version


def plan_form(**more: str) -> dict[str, str]:
    fields = {
        "name": "Pro",
        "description": "",
        "currency": "EUR",
        "monthly_fee": "490",
        "included_units": "5000",
        "overage_price": "",
        "weight": "1",
    }
    return fields | staff.no_rows("limits") | more


def limit_form(**more: str) -> dict[str, str]:
    fields = {
        "name": "burst",
        "kind": "token_bucket",
        "counts": "units",
        "scope": "tenant",
        "model": "",
        "amount": "20",
    }
    return fields | {"rate": "2", "window_s": "0"} | more


def test_a_plan_is_made_together_with_its_limits(admin: Client) -> None:
    line = {f"limits-0-{name}": value for name, value in limit_form().items()}
    answer = admin.post(f"{PLANS}add/", plan_form(**line) | {"limits-TOTAL_FORMS": "1"})
    assert answer.status_code == 302
    rule = LimitRule.objects.get(plan__name="Pro")
    assert (rule.name, rule.amount, rule.rate) == ("burst", 20, 2.0)


def test_a_limit_without_its_numbers_is_refused_by_name(admin: Client) -> None:
    line = {f"limits-0-{name}": value for name, value in limit_form(rate="0").items()}
    answer = admin.post(f"{PLANS}add/", plan_form(**line) | {"limits-TOTAL_FORMS": "1"})
    assert "needs a refill rate above 0" in answer.content.decode()
    assert not Plan.objects.exists()


def test_a_changed_plan_binds_its_tenants_at_once(admin: Client, acme: Customer, globex: Customer) -> None:
    rule = acme.plan.limits.get()
    line = {f"limits-0-{name}": value for name, value in limit_form(amount="7").items()}
    line |= {
        "limits-TOTAL_FORMS": "1",
        "limits-INITIAL_FORMS": "1",
        "limits-0-id": str(rule.pk),
        "limits-0-plan": str(acme.plan.pk),
    }
    before, others = version_of(acme.tenant), version_of(globex.tenant)
    answer = admin.post(f"{PLANS}{acme.plan.pk}/change/", plan_form(**line))
    assert answer.status_code == 302
    assert LimitRule.objects.get(pk=rule.pk).amount == 7
    assert version_of(acme.tenant) > before
    assert version_of(globex.tenant) == others


def test_a_plan_with_subscriptions_cannot_be_deleted(admin: Client, acme: Customer) -> None:
    assert admin.post(f"{PLANS}{acme.plan.pk}/delete/", {"post": "yes"}).status_code == 403
    unused = Plan.objects.create(name="Nobody's")
    assert admin.post(f"{PLANS}{unused.pk}/delete/", {"post": "yes"}).status_code == 302
    assert list(Plan.objects.all()) == [acme.plan]


def test_the_list_of_plans_counts_tenants_that_are_on_it_now(admin: Client, acme: Customer, globex: Customer) -> None:
    Subscription.objects.create(tenant=globex.tenant, plan=acme.plan)
    rows = {plan.name: plan.n_tenants for plan in admin.get(PLANS).context["cl"].result_list}
    assert rows == {acme.plan.name: 2, globex.plan.name: 0}


@pytest.mark.parametrize("owner", ["tenant", "key"])
def test_a_limit_for_one_tenant_or_key_is_published_when_saved_and_when_deleted(
    admin: Client, acme: Customer, owner: str
) -> None:
    subject = acme.tenant if owner == "tenant" else acme.key

    def version() -> int:
        model = Tenant if owner == "tenant" else ApiKey
        return int(model.objects.values_list("version", flat=True).get(pk=subject.pk))

    before = version()
    answer = admin.post(
        f"{LIMITS}add/", limit_form(name="special", plan="", tenant="", key="") | {owner: str(subject.pk)}
    )
    assert answer.status_code == 302
    saved = version()
    assert saved > before
    rule = LimitRule.objects.get(name="special")
    assert admin.post(f"{LIMITS}{rule.pk}/delete/", {"post": "yes"}).status_code == 302
    assert version() > saved


@pytest.mark.parametrize("owners", [[], ["plan", "tenant"]])
def test_a_limit_binds_exactly_one_owner(admin: Client, acme: Customer, owners: list[str]) -> None:
    pks = {"plan": str(acme.plan.pk), "tenant": str(acme.tenant.pk)}
    answer = admin.post(f"{LIMITS}add/", limit_form(name="special") | {name: pks[name] for name in owners})
    assert "one plan, one tenant, or one key" in answer.content.decode()
    assert not LimitRule.objects.filter(name="special").exists()


def test_a_subscription_that_began_is_history(admin: Client, acme: Customer) -> None:
    running = acme.tenant.subscriptions.get()
    other = Plan.objects.create(name="Other")
    assert admin.post(f"{SUBSCRIPTIONS}{running.pk}/change/", {"plan": other.pk}).status_code == 403
    assert admin.post(f"{SUBSCRIPTIONS}{running.pk}/delete/", {"post": "yes"}).status_code == 403
    assert acme.tenant.subscriptions.get().plan == acme.plan


def test_a_new_plan_is_agreed_and_can_be_taken_back_before_it_starts(admin: Client, acme: Customer) -> None:
    other = Plan.objects.create(name="Other")
    before = version_of(acme.tenant)
    starts = clock.now() + dt.timedelta(days=5)
    form = {"tenant": acme.tenant.pk, "plan": other.pk, "starts_at_0": f"{starts:%Y-%m-%d}", "starts_at_1": "00:00:00"}
    assert admin.post(f"{SUBSCRIPTIONS}add/", form).status_code == 302
    agreed = Subscription.objects.get(plan=other)
    assert version_of(acme.tenant) > before
    assert admin.post(f"{SUBSCRIPTIONS}{agreed.pk}/delete/", {"post": "yes"}).status_code == 302
    assert acme.tenant.subscriptions.count() == 1


@pytest.mark.parametrize("page", [PLANS, LIMITS, SUBSCRIPTIONS])
def test_lists_cost_the_same_queries_with_one_row_and_with_ten(admin: Client, acme: Customer, page: str) -> None:
    admin.get(page)  # what a process keeps in memory is read
    with CaptureQueriesContext(connection) as one:
        admin.get(page)
    for number in range(9):
        plan = Plan.objects.create(name=f"Plan {number}")
        LimitRule.objects.create(plan=plan, name="burst", kind="token_bucket", amount=5, rate=1.0)
        LimitRule.objects.create(tenant=acme.tenant, name=f"own-{number}", kind="monthly", amount=5)
        Subscription.objects.create(
            tenant=acme.tenant, plan=plan, starts_at=clock.now() - dt.timedelta(days=number + 1)
        )
    with CaptureQueriesContext(connection) as ten:
        admin.get(page)
    assert len(ten) == len(one)
