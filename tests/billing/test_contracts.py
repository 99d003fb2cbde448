"""What a caller is bound by: the plan of the day, and the limits of plan, tenant and key; a change binds at once."""

import datetime as dt

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from pytest_django import DjangoAssertNumQueries

from billing import admission, contracts
from billing.admission import Limit, StaleCaller, peek
from billing.contracts import Contract, contract_of
from billing.metering.ledger import month_to_date
from billing.models import LimitKind, LimitRule, LimitScope, Plan, Subscription
from mlplatform.lib import clock
from tenants import api_keys
from tenants.authentication import Caller, authenticate
from tenants.models import Tenant
from tests.conftest import Customer

HERE = "192.0.2.1"


def caller_of(customer: Customer, *, secret: str = "") -> Caller:
    return authenticate(secret or customer.secret, address=HERE, fresh=True)


def limits_of(contract: Contract) -> dict[str, Limit]:
    return {limit.name: limit for limit in contract.limits}


def is_stale(caller: Caller) -> bool:
    contract = contract_of(caller)
    try:
        peek(subject=contract.subject, limits=contract.limits, month_to_date=month_to_date)
    except StaleCaller:
        return True
    return False


def rule(**fields: object) -> LimitRule:
    defaults = {"name": "extra", "kind": LimitKind.TOKEN_BUCKET, "amount": 10, "rate": 1.0}
    return LimitRule(**(defaults | fields))


def test_a_contract_has_every_limit_that_applies_and_says_who_set_it(acme: Customer, globex: Customer) -> None:
    rule(name="agreed", tenant=acme.tenant, kind=LimitKind.FIXED_WINDOW, window_s=60, rate=0).save()
    rule(name="own", key=acme.key, kind=LimitKind.CONCURRENCY, counts="requests", rate=0).save()
    rule(name="each", plan=acme.plan, scope=LimitScope.KEY).save()
    rule(name="large", plan=acme.plan, scope=LimitScope.MODEL, model="large").save()
    rule(name="mine-large", key=acme.key, scope=LimitScope.MODEL, model="large").save()
    rule(name="stranger", tenant=globex.tenant).save()
    contract = contract_of(caller_of(acme))
    found = limits_of(contract)
    assert set(found) == {"burst", "agreed", "own", "each", "large", "mine-large", "included"}
    assert {name: (limit.scope, limit.subject, limit.source) for name, limit in found.items()} == {
        "burst": ("tenant", "", "plan Plan of acme"),
        "agreed": ("tenant", "", "an agreement with the tenant"),
        "own": ("key", "", "key Production"),
        "each": ("key", "", "plan Plan of acme"),
        "large": ("model", "large", "plan Plan of acme"),
        "mine-large": ("model", "large", "key Production"),
        "included": ("tenant", "", "plan Plan of acme"),
    }
    assert found["agreed"].window_s == 60
    assert found["own"].counts == "requests"
    counted_by_key = {name for name, limit in found.items() if contracts.counts_one_key(limit, acme.key.uid)}
    assert counted_by_key == {"own", "each", "mine-large"}
    assert contract.plan_name == "Plan of acme"
    small = {limit.name for limit in contract.limits_for(["small"])}
    assert small == set(found) - {"large", "mine-large"}
    assert set(contract.limits_for(["small", "large"])) == set(contract.limits)
    assert contract_of(caller_of(globex)).limits_for(["x"]) == contract_of(caller_of(globex)).limits


def test_each_key_is_counted_by_itself_where_the_plan_says_so(acme: Customer) -> None:
    rule(name="each", plan=acme.plan, scope=LimitScope.KEY).save()
    other = api_keys.issue(tenant=acme.tenant, name="Other").secret
    first, second = (limits_of(contract_of(caller_of(acme, secret=secret))) for secret in (acme.secret, other))
    assert first["each"].id != second["each"].id
    assert first["burst"].id == second["burst"].id


def test_the_plan_is_that_of_the_day(acme: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    started = acme.tenant.subscriptions.get().starts_at
    later = Plan.objects.create(name="Later", included_units=5, overage_price="0.1")
    Subscription.objects.create(tenant=acme.tenant, plan=later, starts_at=started + dt.timedelta(days=7))
    assert contracts.plan_now(acme.tenant.pk) == acme.plan
    assert contracts.plan_now(acme.tenant.pk, at=started - dt.timedelta(seconds=1)) is None
    assert contracts.plan_now(acme.tenant.pk, at=started + dt.timedelta(days=8)) == later
    caller = caller_of(acme)
    assert contract_of(caller).plan_name == "Plan of acme"
    monkeypatch.setattr(clock, "now", lambda: started + dt.timedelta(days=7))
    assert contract_of(caller).plan_name == "Plan of acme", "for at most 30 s more"
    start = clock.monotonic()
    monkeypatch.setattr(clock, "monotonic", lambda: start + 30)
    contract = contract_of(caller)
    assert (contract.plan_name, contract.limits) == ("Later", ())


def test_a_hard_cap_is_a_limit_and_an_overage_price_is_none(acme: Customer) -> None:
    included = limits_of(contract_of(caller_of(acme)))["included"]
    assert (included.kind, included.amount, included.counts) == (admission.LimitKind.MONTHLY, 1_000_000, "units")
    Plan.objects.update(overage_price=0)
    contracts.forget_all()
    assert "included" not in limits_of(contract_of(caller_of(acme)))


def test_without_a_plan_nothing_is_included(acme: Customer) -> None:
    Subscription.objects.all().delete()
    contract = contract_of(caller_of(acme))
    assert contract.plan_name == ""
    assert [(limit.name, limit.amount, limit.source) for limit in contract.limits] == [("included", 0, "no plan")]


def test_the_memory_is_keyed_by_versions_and_bounded(
    acme: Customer, django_assert_num_queries: DjangoAssertNumQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = caller_of(acme)
    contract = contract_of(caller)
    with django_assert_num_queries(0):
        assert contract_of(caller) is contract
    rule(plan=acme.plan).save()
    assert contract_of(caller) is contract
    contracts.plan_changed(plan=acme.plan)
    assert "extra" in limits_of(contract_of(caller_of(acme)))
    monkeypatch.setattr(contracts.known_contracts, "most", 1)
    contract_of(caller_of(acme, secret=api_keys.issue(tenant=acme.tenant, name="Other").secret))
    assert len(contracts.known_contracts) == 1


def test_limits_that_are_equal_are_the_same_objects(acme: Customer) -> None:
    before = contract_of(caller_of(acme))
    other_key = api_keys.issue(tenant=acme.tenant, name="Other").secret
    assert contract_of(caller_of(acme, secret=other_key)).limits is before.limits
    contracts.forget_all()
    assert contract_of(caller_of(acme)).limits is before.limits
    rule(plan=acme.plan).save()
    contracts.forget_all()
    assert contract_of(caller_of(acme)).limits != before.limits


@pytest.mark.django_db(transaction=True)
def test_a_change_of_a_plan_reaches_every_subscriber_and_no_other_tenant(acme: Customer, globex: Customer) -> None:
    umbrella = Tenant.objects.create(slug="umbrella", name="Umbrella", shard=1)
    Subscription.objects.create(tenant=umbrella, plan=acme.plan)
    own, stranger = caller_of(acme), caller_of(globex)
    assert not is_stale(own)
    contracts.plan_changed(plan=acme.plan)
    assert is_stale(own)
    assert not is_stale(stranger)
    assert [Tenant.objects.get(pk=pk).version for pk in (acme.tenant.pk, umbrella.pk, globex.tenant.pk)] == [2, 2, 1]


@pytest.mark.django_db(transaction=True)
def test_a_change_of_a_limit_or_subscription_reaches_its_owner(acme: Customer, globex: Customer) -> None:
    owners: tuple[dict[str, object], ...] = ({"plan": acme.plan}, {"tenant": acme.tenant}, {"key": acme.key})
    for number, owner in enumerate(owners):
        caller, stranger = caller_of(acme), caller_of(globex)
        assert not is_stale(caller)
        made = rule(name=f"extra{number}", **owner)
        made.save()
        contracts.rules_changed(rule=made)
        assert is_stale(caller)
        caller = caller_of(acme)
        assert f"extra{number}" in limits_of(contract_of(caller))
        made.delete()
        contracts.rules_changed(rule=made)
        assert is_stale(caller)
        assert not is_stale(stranger)
    caller = caller_of(acme)
    subscription = acme.tenant.subscriptions.get()
    subscription.delete()
    contracts.subscription_changed(subscription=subscription)
    assert is_stale(caller)
    assert contract_of(caller_of(acme)).plan_name == ""


# --- The rules themselves --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"rate": 0.0}, "rate"),
        ({"rate": float("nan")}, "rate"),
        ({"rate": -1.0}, "rate"),
        ({"kind": "fixed_window"}, "window_s"),
        ({"kind": "sliding_window"}, "window_s"),
        ({"kind": "concurrency"}, "counts"),
        ({"scope": "model"}, "model"),
        ({"model": "large"}, "model"),
        ({"name": "Burst"}, "name"),
        ({"name": 'a"b'}, "name"),
        ({"amount": 0}, "amount"),
        ({"kind": "leaky"}, "kind"),
    ],
)
def test_a_limit_that_makes_no_sense_names_its_field(acme: Customer, fields: dict[str, object], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        rule(plan=acme.plan, **fields).full_clean()
    assert field in caught.value.message_dict


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "10 units, refilled 1 a second"),
        ({"kind": "fixed_window", "window_s": 60}, "10 units in each 60 s"),
        ({"kind": "sliding_window", "window_s": 60}, "10 units in any 60 s"),
        ({"kind": "monthly", "amount": 12_345}, "12,345 units a calendar month"),
        ({"kind": "concurrency", "counts": "requests"}, "10 requests at a time"),
    ],
)
def test_a_limit_is_said_in_words(acme: Customer, fields: dict[str, object], words: str) -> None:
    made = rule(plan=acme.plan, **fields)
    made.full_clean()
    assert str(made) == f"extra: {words}"


def test_the_database_refuses_what_forms_never_write(acme: Customer) -> None:
    wrong = [
        rule(),
        rule(plan=acme.plan, tenant=acme.tenant),
        rule(plan=acme.plan, tenant=acme.tenant, key=acme.key),
        rule(plan=acme.plan, name="burst"),
        rule(plan=acme.plan, amount=0),
    ]
    for made in wrong:
        with pytest.raises(IntegrityError), transaction.atomic():
            made.save()
    rule(tenant=acme.tenant, name="burst").save()
    with pytest.raises(IntegrityError), transaction.atomic():
        Subscription.objects.create(
            tenant=acme.tenant, plan=acme.plan, starts_at=acme.tenant.subscriptions.get().starts_at
        )
