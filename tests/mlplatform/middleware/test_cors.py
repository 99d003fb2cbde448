"""Cross-origin calls: refused by silence unless the settings name the origin."""

from collections.abc import Mapping

import pytest
from pytest_django import Settings

from tests.conftest import Customer
from tests.support.rest import Api

ORIGIN = "https://app.example"
PREFLIGHT = {
    "origin": ORIGIN,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization",
}


def cors(headers: Mapping[str, str]) -> set[str]:
    return {name for name in headers if name.startswith("Access-Control-")}


def test_it_is_off_by_default(acme: Customer) -> None:
    assert cors(Api(acme).get("/v2/me", headers={"origin": ORIGIN}).headers) == set()
    assert cors(Api().call("OPTIONS", "/v2/predict", headers=PREFLIGHT).headers) == set()


def test_a_named_origin_may_call(acme: Customer, settings: Settings) -> None:
    settings.CORS_ALLOWED_ORIGINS = [ORIGIN]
    answer = Api(acme).get("/v2/me", headers={"origin": ORIGIN})
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "Origin" in answer.headers["Vary"]
    exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
    assert {"RateLimit", "RateLimit-Policy", "Retry-After", "X-Request-Id", "API-Version", "X-Cache"} <= set(exposed)
    assert {"Deprecation", "Sunset", "Link", "X-API-Deprecated", "X-API-Sunset-Date"} <= set(exposed)
    assert "Access-Control-Allow-Credentials" not in answer.headers


def test_a_problem_can_be_read_too(db: None, settings: Settings) -> None:
    settings.CORS_ALLOWED_ORIGINS = [ORIGIN]
    answer = Api().get("/v2/me", headers={"origin": ORIGIN})
    assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (401, ORIGIN)


def test_a_preflight_needs_no_key(db: None, settings: Settings) -> None:
    settings.CORS_ALLOWED_ORIGINS = [ORIGIN]
    answer = Api().call("OPTIONS", "/v2/predict", headers=PREFLIGHT)
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Methods"] == "GET, POST, DELETE"
    allowed = answer.headers["Access-Control-Allow-Headers"].split(", ")
    assert {"Authorization", "Content-Type", "API-Version", "X-API-Key", "Cache-Control"} <= set(allowed)
    assert {"Prefer", "X-Request-Timeout"} <= set(allowed)


@pytest.mark.parametrize("origin", ["https://evil.example", "https://app.example.evil", "http://app.example", "null"])
def test_other_origins_may_not(acme: Customer, settings: Settings, origin: str) -> None:
    settings.CORS_ALLOWED_ORIGINS = [ORIGIN]
    answer = Api(acme).get("/v2/me", headers={"origin": origin})
    assert cors(answer.headers) == set()
    assert "Origin" in answer.headers["Vary"]


def test_pages_are_never_shared(db: None, settings: Settings) -> None:
    settings.CORS_ALLOWED_ORIGINS = [ORIGIN]
    assert cors(Api().get("/docs/problems", headers={"origin": ORIGIN}).headers) == set()
