"""A tenant most of whose calls are refused is told of, with the limit and the key that refuse them."""

import datetime as dt

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from billing.metering import ledger
from billing.models import LimitRule
from mlplatform.attention import Notice
from mlplatform.lib import clock
from tenants import last_used
from tests.conftest import Customer
from tests.support import staff
from tests.support.redis_server import RedisServer
from tests.support.refusing import refuse, spend

BURST = 1_000
"""Units of the plan's only limit in the tests' contracts."""


@pytest.fixture
def admin(db: None) -> Client:
    return staff.signed_in(staff.superuser())


def told(client: Client) -> list[Notice]:
    last_used.gather()
    last_used.flush()
    return [one for one in client.get("/admin/").context["notices"] if "were refused" in one.text]


def refuse_many(customer: Customer, number: int) -> None:
    for _ in range(number):
        refuse(customer, "", units=2 * BURST)


def test_it_names_limit_and_key_and_leads_to_both(admin: Client, acme: Customer, globex: Customer) -> None:
    rule = acme.plan.limits.get()
    refuse_many(acme, 30)
    for _ in range(10):
        spend(acme, 1)
    refuse_many(globex, 19)
    ledger.drain()
    (notice,) = told(admin)
    assert notice.text == (
        "75.0 % of the calls of Acme within an hour were refused (30 of 40), by the limit burst with the key Production."
    )
    assert notice.link == f"/admin/tenants/tenant/{acme.tenant.pk}/change/"
    assert [link.address for link in notice.more] == [
        f"/admin/billing/limitrule/{rule.pk}/change/",
        f"/admin/tenants/apikey/{acme.key.pk}/change/",
    ]
    for link in (notice.link, *(link.address for link in notice.more)):
        assert admin.get(link).status_code == 200


def test_a_tenant_with_more_answers_than_refusals_is_none(admin: Client, acme: Customer) -> None:
    refuse_many(acme, 20)
    for _ in range(21):
        spend(acme, 1)
    ledger.drain()
    assert told(admin) == []


def test_units_that_no_plan_includes_lead_to_the_plans(admin: Client, acme: Customer) -> None:
    acme.plan.included_units = 0
    acme.plan.save()
    LimitRule.objects.all().delete()
    refuse_many(acme, 20)
    (notice,) = told(admin)
    assert "by the limit included" in notice.text
    assert [link.title for link in notice.more] == ["Plans", "Key"]


def test_what_was_refused_more_than_an_hour_ago_is_over(
    admin: Client, acme: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_many(acme, 20)
    assert len(told(admin)) == 1
    later = clock.now() + dt.timedelta(hours=3)
    monkeypatch.setattr(clock, "now", lambda: later)
    assert told(admin) == []


def test_staff_see_the_links_that_they_may_open(admin: Client, acme: Customer) -> None:
    refuse_many(acme, 20)
    assert told(staff.signed_in(staff.with_role(""))) == []
    assert len(told(admin)) == 1


def test_the_page_asks_a_bounded_number_of_questions(
    admin: Client, acme: Customer, globex: Customer, state_redis: RedisServer
) -> None:
    for customer in (acme, globex):
        refuse_many(customer, 20)
    assert len(told(admin)) == 2
    with CaptureQueriesContext(connection) as asked:
        admin.get("/admin/")
    assert len(asked) <= 15, [one["sql"][:150] for one in asked]
    state_redis.stop()
    assert admin.get("/admin/").status_code == 200
