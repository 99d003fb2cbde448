"""Which API version answers: path, header, query, the key's pin, the platform's default."""

from typing import Any

import pytest

from mlplatform.lib.errors import ErrorKind
from tenants import api_keys
from tests.conftest import Customer
from tests.support import ledger
from tests.support.live_worker import LiveWorker, demo_models, live_worker
from tests.support.rest import Answer, Api, assert_problem, both_ways

__all__ = ["both_ways", "demo_models", "live_worker"]

pytestmark = pytest.mark.usefixtures("both_ways")

SHAPES = {
    frozenset({"prediction", "confidence"}): "v1",
    frozenset({"prediction", "confidence", "model_version", "latency_ms"}): "v1.1",
    frozenset({"id", "model", "model_version", "predictions", "usage", "cached", "latency_ms"}): "v2",
}


def call(customer: Customer, *, path: str = "", header: str = "", query: str = "", pin: str = "") -> Answer:
    api = Api(secret=api_keys.issue(tenant=customer.tenant, name="Pinned", pinned_api_version=pin).secret)
    address = f"{f'/{path}' if path else ''}/predict{f'?version={query}' if query else ''}"
    headers = {"api-version": header} if header else {}
    return api.post(address, {"model": "sentiment", "input": "Good."}, headers=headers)


@pytest.mark.parametrize(
    ("selectors", "expected"),
    [
        ({}, "v2"),
        ({"path": "v1"}, "v1"),
        ({"path": "v1.1"}, "v1.1"),
        ({"path": "v2"}, "v2"),
        ({"header": "v1"}, "v1"),
        ({"header": " v1.1 "}, "v1.1"),
        ({"query": "v1"}, "v1"),
        ({"pin": "v1"}, "v1"),
        ({"pin": "v1.1"}, "v1.1"),
        ({"pin": "v1", "query": "v2"}, "v2"),
        ({"pin": "v1", "header": "v1.1"}, "v1.1"),
        ({"pin": "v1", "path": "v2"}, "v2"),
        ({"path": "v1", "header": "v1", "query": "v1", "pin": "v2"}, "v1"),
    ],
)
def test_the_strongest_selector_decides(
    acme: Customer, live_worker: LiveWorker, selectors: dict[str, str], expected: str
) -> None:
    answer = call(acme, **selectors)
    assert answer.status == 200
    assert answer.headers["API-Version"] == expected
    assert SHAPES[frozenset(answer.body)] == expected


def test_the_platforms_default_serves_who_says_nothing(acme: Customer, live_worker: LiveWorker, settings: Any) -> None:
    settings.DEFAULT_API_VERSION = "v1"
    assert call(acme).headers["API-Version"] == "v1"
    assert call(acme, pin="v2").headers["API-Version"] == "v2"


@pytest.mark.parametrize(
    "selectors",
    [
        {"path": "v1", "header": "v2"},
        {"path": "v2", "query": "v1"},
        {"header": "v1", "query": "v1.1"},
        {"path": "v1", "header": "v1", "query": "v2"},
    ],
)
def test_two_that_disagree_are_refused(acme: Customer, selectors: dict[str, str]) -> None:
    answer = call(acme, **selectors)
    assert_problem(answer, ErrorKind.MALFORMED, "different API versions", *selectors.values())
    ledger.assert_untouched(acme)


def test_a_query_that_names_two_is_refused(acme: Customer) -> None:
    answer = Api(acme).post("/predict?version=v1&version=v2", {"model": "sentiment", "input": "x"})
    assert_problem(answer, ErrorKind.MALFORMED, "more than once", field="version")
    answer = Api(acme).post("/predict?version=", {"model": "sentiment", "input": "x"})
    assert_problem(answer, ErrorKind.MALFORMED, "without a value", field="version")
    ledger.assert_untouched(acme)


@pytest.mark.parametrize(
    "selectors",
    [
        {"path": "v3"},
        {"path": "v1.2"},
        {"path": "v2beta"},
        {"header": "2"},
        {"header": "V2"},
        {"query": "v0"},
        {"query": "%00"},
    ],
)
def test_an_unknown_one_is_told_those_that_exist(acme: Customer, selectors: dict[str, str]) -> None:
    answer = call(acme, **selectors)
    assert_problem(answer, ErrorKind.UNSUPPORTED_API_VERSION, "Unsupported API version: ", "v1, v1.1, v2")
    assert answer.body["supported"] == ["v1", "v1.1", "v2"]
    ledger.assert_untouched(acme)


def test_a_problem_echoes_the_api_version_too(acme: Customer) -> None:
    answer = Api(acme).post("/v1/predict", {"input": 5})
    assert (answer.status, answer.headers["API-Version"]) == (422, "v1")


def test_reports_have_no_v1(acme: Customer) -> None:
    assert_problem(Api(acme).get("/v1/usage"), ErrorKind.NOT_FOUND, "v1", "v2")
    assert Api(acme).get("/usage").headers["API-Version"] == "v2"
