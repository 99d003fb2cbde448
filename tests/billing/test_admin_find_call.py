"""Find a call: by its request id, whichever customer's it was."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from billing.models import LimitRule
from tests.conftest import Customer
from tests.support import staff
from tests.support.redis_server import RedisServer
from tests.support.refusing import refuse, spend

PAGE = "/admin/billing/usagerecord/find/"


@pytest.fixture
def support(db: None) -> Client:
    return staff.signed_in(staff.with_role("support"))


def test_a_refused_call_is_explained_to_staff(support: Client, acme: Customer) -> None:
    LimitRule.objects.filter(plan=acme.plan).update(rate=1.0)
    spend(acme, 900)
    refuse(acme, "req-42", units=600)
    with CaptureQueriesContext(connection) as queries:
        page = support.get(PAGE, {"request_id": " req-42 "})
    text = " ".join(page.content.decode().split())
    for told in (
        "Acme",
        "Refused by burst",
        "Production",
        "sentiment",
        "600",
        "refused, would pass after",
        "plan Plan of acme",
    ):
        assert told in text, told
    assert len(queries) <= 15


def test_an_unknown_call_says_what_it_may_have_been(support: Client, acme: Customer) -> None:
    assert "No call has this request id" in support.get(PAGE, {"request_id": "nothing\x00"}).content.decode()
    assert "No call has this request id" not in support.get(PAGE).content.decode()


def test_without_redis_the_page_says_so(support: Client, acme: Customer, state_redis: RedisServer) -> None:
    state_redis.stop()
    try:
        page = support.get(PAGE, {"request_id": "req-42"})
    finally:
        state_redis.start()
    assert page.status_code == 200
    assert "refusals cannot be looked for" in page.content.decode()


def test_looking_takes_the_right_to_see_usage(acme: Customer) -> None:
    refuse(acme, "req-42")
    page = staff.signed_in(staff.with_role("")).get(PAGE, {"request_id": "req-42"})
    assert page.status_code == 403
    assert b"Acme" not in page.content


def test_the_sidebar_leads_to_it(support: Client) -> None:
    assert f'href="{PAGE}"' in support.get("/admin/").content.decode()
