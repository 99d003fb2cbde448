"""Who calls GraphQL over HTTP, and what limits refuse: keys, sessions, quotas."""

import json
from typing import Any

import pytest
from django.test import Client
from graphql import get_introspection_query
from pytest_django import DjangoCaptureOnCommitCallbacks

from billing.models import LimitKind, LimitRule, Plan, Price
from tenants import api_keys
from tests.conftest import Customer
from tests.mlplatform.graphql.small_schema import RAN
from tests.support import ledger
from tests.support.graphql import GRAPHQL_JSON, ask, assert_refused
from tests.support.rest import Api, assert_limit_headers
from tests.support.windows import AGES_S

JSON = "application/json"
HELLO = {"query": "{ hello }"}


@pytest.mark.django_db
@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer mlp_live_wrong"}, {"authorization": "Basic eDp5"}])
def test_no_key_no_answer_and_nothing_is_told(headers: dict[str, str]) -> None:
    for query in ("{ helo }", "{ __schema { queryType { name } } }", "{"):
        answer = Api().post("/graphql", {"query": query}, headers=headers)
        assert_refused(answer, "UNAUTHENTICATED", status=401)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert b"hello" not in answer.content
        assert "RateLimit" not in answer.headers


def test_a_revoked_key_is_refused_at_once(
    acme: Customer, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    api = Api(acme)
    assert ask(api, "{ hello }").status == 200
    before = ledger.units(acme.tenant)
    with django_capture_on_commit_callbacks(execute=True):
        api_keys.revoke(key=acme.key)
    for query in ("{ thing(number: 1) { number } }", "{ hello }", '{ predict(model: "x", inputData: "y") { units } }'):
        RAN.clear()
        assert_refused(ask(api, query), "UNAUTHENTICATED", status=401)
    assert_refused(api.post("/graphql", [HELLO, HELLO]), "UNAUTHENTICATED", status=401)
    assert ledger.units(acme.tenant) == before


def test_a_small_look_at_the_schema_costs_nothing_but_counts(acme: Customer) -> None:
    answer = ask(Api(acme), "{ __schema { queryType { name } } __typename }")
    assert answer.body["data"] == {"__schema": {"queryType": {"name": "Query"}}, "__typename": "Query"}
    (record,) = ledger.records(acme.tenant)
    assert (record.units, record.body["requests"]) == (0, 1)


def test_the_whole_schema_costs_points(acme: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlplatform.graphql.cost.INTROSPECTED_A_POINT", 100)
    answer = ask(Api(acme), get_introspection_query())
    assert answer.body["data"]["__schema"]["types"]
    (record,) = ledger.records(acme.tenant)
    cost = answer.body["extensions"]["cost"]
    assert record.units == cost["actual"] == cost["requested"] > 0
    assert cost["points"]["requested"] == cost["points"]["actual"] == record.units


def _bound(customer: Customer, amount: int) -> None:
    LimitRule.objects.filter(plan=customer.plan).delete()
    LimitRule.objects.create(
        plan=customer.plan, name="day", kind=LimitKind.FIXED_WINDOW, amount=amount, window_s=AGES_S
    )


@pytest.mark.parametrize("accept", [JSON, GRAPHQL_JSON])
def test_a_used_up_quota(acme: Customer, accept: str) -> None:
    _bound(acme, 150)
    api = Api(acme)
    assert ask(api, "{ dear }").status == 200
    RAN.clear()
    answer = ask(api, "{ dear }", accept=accept)
    error = assert_refused(answer, "QUOTA_EXCEEDED", status=429)
    assert error["extensions"]["violatedPolicies"] == ["day"]
    assert error["extensions"]["retryAfter"] == int(answer.headers["Retry-After"]) >= 1
    assert_limit_headers(answer)
    assert RAN == []
    assert ledger.units(acme.tenant) == 100
    assert Api(acme).get(f"/v2/limits/explain/{answer.headers['X-Request-Id']}").status == 200


def test_more_than_a_limit_can_ever_pass(acme: Customer) -> None:
    _bound(acme, 50)
    assert_refused(ask(Api(acme), "{ dear }"), "CHARGE_TOO_LARGE", status=422)
    assert RAN == []
    ledger.assert_untouched(acme)


def test_without_a_plan_nothing_is_included(acme: Customer) -> None:
    Plan.objects.filter(pk=acme.plan.pk).update(included_units=0)
    assert_refused(ask(Api(acme), "{ dear }"), "FORBIDDEN", status=403)
    assert RAN == []


def test_redis_away_refuses_everything(acme: Customer, state_redis: Any) -> None:
    state_redis.stop()
    answer = ask(Api(acme), "{ dear }")
    assert_refused(answer, "UNAVAILABLE", status=503)
    assert int(answer.headers["Retry-After"]) >= 1
    assert RAN == []
    state_redis.start()
    ledger.assert_untouched(acme)


def test_the_price_of_a_point(acme: Customer) -> None:
    Price.objects.create(operation="graphql", per_call=5, per_input=2)
    answer = ask(Api(acme), "{ dear thing(number: 1) { number } }")
    assert answer.body["extensions"]["cost"]["actual"] == 207
    assert ledger.units(acme.tenant) == 207


SCHEMA = {"query": "{ __schema { queryType { name } } }"}


def _signed_in(customer: Customer) -> tuple[Client, str]:
    client = Client(enforce_csrf_checks=True)
    client.force_login(customer.owner)
    page = client.get("/graphql", headers={"accept": "text/html"})
    assert page.status_code == 200
    token = page.content.decode().split('data-csrf="')[1].split('"')[0]
    return client, token


def test_a_session_sees_the_schema_and_nothing_else(acme: Customer) -> None:
    client, token = _signed_in(acme)
    headers = {"x-csrftoken": token, "accept": GRAPHQL_JSON}
    seen = client.post("/graphql", SCHEMA, content_type=JSON, headers=headers)
    assert (seen.status_code, seen.json()) == (200, {"data": {"__schema": {"queryType": {"name": "Query"}}}})
    for query in (
        "{ hello }",
        "{ ...F } fragment F on Query { __typename hello }",
        'mutation { rename(name: "x") { name } }',
    ):
        refused = client.post("/graphql", {"query": query}, content_type=JSON, headers=headers)
        assert refused.status_code in {401, 405}, refused.content
    batch = client.post("/graphql", json.dumps([SCHEMA]), content_type=JSON, headers=headers)
    assert batch.status_code == 400
    assert RAN == []
    ledger.assert_untouched(acme)


def test_a_session_needs_its_token(acme: Customer) -> None:
    client, _ = _signed_in(acme)
    assert client.post("/graphql", SCHEMA, content_type=JSON).status_code == 403


def test_a_key_counts_more_than_a_session(acme: Customer) -> None:
    client, _ = _signed_in(acme)
    answer = client.post("/graphql", HELLO, content_type=JSON, headers=acme.auth)
    assert answer.json()["data"] == {"hello": "Hello you"}
    assert client.post("/graphql", HELLO, content_type=JSON, headers={"x-api-key": "mlp_wrong"}).status_code == 401


def test_looking_at_the_schema_is_limited(acme: Customer) -> None:
    client, token = _signed_in(acme)
    headers = {"x-csrftoken": token, "accept": GRAPHQL_JSON}
    statuses = [client.post("/graphql", SCHEMA, content_type=JSON, headers=headers).status_code for _ in range(62)]
    assert statuses[0] == 200
    assert 429 in statuses
    refused = client.post("/graphql", SCHEMA, content_type=JSON, headers=headers)
    assert refused.json()["errors"][0]["extensions"]["code"] == "TOO_MANY_ATTEMPTS"
    assert int(refused.headers["Retry-After"]) >= 1
