"""Limits, refusals and calls in the words that the admin and the customer read."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from billing import customer_view
from billing.metering import ledger
from billing.models import Counts, LimitKind, LimitRule, LimitScope
from mlplatform.lib import redis
from mlplatform.lib.errors import PlatformError
from tenants import api_keys
from tests.conftest import Customer, make_customer
from tests.support.redis_server import RedisServer
from tests.support.refusing import refuse, spend
from tests.support.windows import AGES_S


def test_the_limits_of_a_tenant_are_those_that_its_keys_share(acme: Customer) -> None:
    LimitRule.objects.create(
        plan=acme.plan, name="each", kind=LimitKind.FIXED_WINDOW, amount=50, window_s=AGES_S, scope=LimitScope.KEY
    )
    LimitRule.objects.create(key=acme.key, name="mine", kind=LimitKind.CONCURRENCY, amount=4, counts=Counts.REQUESTS)
    spend(acme, 30)
    of_tenant = {limit.name: limit for limit in customer_view.limits_of_tenant(acme.tenant) or []}
    of_key = {limit.name: limit for limit in customer_view.limits_of_key(acme.key) or []}
    assert set(of_tenant) == {"burst", "included"}
    assert set(of_key) == {"burst", "included", "each", "mine"}
    assert of_tenant["burst"].rule == "1,000 units, refilled 100 a second"
    assert of_tenant["burst"].set_by == "plan Plan of acme"
    assert of_tenant["included"].left == 999_970
    assert (of_key["each"].left, of_key["each"].used_percent, of_key["each"].tone) == (20, 60, "ok")
    assert of_key["mine"].left == 4


def test_looking_leaves_no_guard_of_a_key_that_is_none(acme: Customer) -> None:
    customer_view.limits_of_tenant(acme.tenant)
    assert redis.state().keys("*:key:*") == []


def test_refusals_tell_key_limit_and_when(acme: Customer) -> None:
    LimitRule.objects.filter(plan=acme.plan).update(rate=1.0)
    other = api_keys.issue(tenant=acme.tenant, name="Nightly")
    spend(acme, 900)
    refuse(acme, "first", units=600)
    refuse(acme, "second", units=5_000, model="digits", secret=other.secret)
    found = customer_view.refusals_of_tenant(acme.tenant)
    assert found is not None
    assert found.count == 2
    second, first = found.newest
    assert (first.request_id, first.key, first.models, first.refused_by) == (
        "first",
        "Production",
        "sentiment",
        "burst",
    )
    assert (first.tightest.asked, first.tightest.refused) == (600, True)
    assert 100 <= first.tightest.had < 200
    assert first.passes == "would pass after 9 min"
    assert (second.key, second.models) == ("Nightly", "digits")
    assert second.passes == "can never pass: it asks for more than fits"
    assert {limit.name: limit.verdict for limit in second.limits}["included"] == "passed"
    of_key = customer_view.refusals_of_key(other.key)
    assert of_key is not None
    assert (of_key.count, [call.request_id for call in of_key.newest]) == (1, ["second"])


def test_a_call_is_found_by_its_request_id_whatever_became_of_it(acme: Customer, globex: Customer) -> None:
    spend(acme, 10, request_id="both")
    refuse(acme, "both")
    refuse(globex, "theirs")
    ledger.drain()
    (call,) = customer_view.find_calls("both")
    assert call.tenant == acme.tenant
    assert call.refused is not None
    assert call.recorded is not None
    assert (call.recorded.units, call.recorded.key, call.recorded.api_version) == (10, "Production", "v2")
    assert [(line.what, line.answered) for line in call.recorded.lines] == [("sentiment@1.0.0", "from the cache")]
    assert [found.tenant for found in customer_view.find_calls("theirs")] == [globex.tenant]
    assert customer_view.find_calls("theirs", within=acme.tenant) == []
    assert customer_view.find_calls("nobody's") == []


def test_one_request_id_of_several_tenants_is_told_of_each(acme: Customer, globex: Customer) -> None:
    for customer in (acme, globex):
        refuse(customer, "42")
    assert [call.tenant for call in customer_view.find_calls("42")] == [acme.tenant, globex.tenant]


def test_finding_costs_the_same_queries_however_many_tenants_there_are(acme: Customer) -> None:
    refuse(acme, "42")
    with CaptureQueriesContext(connection) as few:
        customer_view.find_calls("42")
    for number in range(5):
        make_customer(f"more-{number}")
    with CaptureQueriesContext(connection) as many:
        assert len(customer_view.find_calls("42")) == 1
    assert len(few) == len(many) <= 5


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.001, "0.01 s"), (9.95, "9.95 s"), (59.1, "60 s"), (150, "3 min"), (200_000, "3 days")]
)
def test_a_wait_is_never_told_too_short(seconds: float, words: str) -> None:
    assert customer_view.words_of(seconds) == words


def test_without_redis_it_is_unknown(acme: Customer, state_redis: RedisServer) -> None:
    state_redis.stop()
    try:
        assert customer_view.limits_of_tenant(acme.tenant) is None
        assert customer_view.refusals_of_key(acme.key) is None
        with pytest.raises(PlatformError):
            customer_view.find_calls("42")
    finally:
        state_redis.start()
