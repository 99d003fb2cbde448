"""The table from kinds to the wire is complete, and answers that no view makes are problems too."""

import pytest

from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.http import problems
from tests.conftest import Customer
from tests.support.rest import Api, assert_problem


def test_every_kind_has_its_row() -> None:
    assert set(problems.TABLE) == set(ErrorKind)


@pytest.mark.parametrize("kind", list(ErrorKind))
def test_a_row_is_complete(kind: ErrorKind) -> None:
    wire = problems.TABLE[kind]
    assert 400 <= wire.status <= 599
    for text in (wire.title, wire.meaning, wire.advice):
        assert text
    assert not wire.title.endswith(".")
    assert wire.meaning.endswith(".")
    assert wire.advice.endswith(".")


def test_types_are_those_of_the_standards() -> None:
    assert (
        problems.type_of(ErrorKind.QUOTA_EXCEEDED) == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    )
    for kind in (ErrorKind.OVERLOADED, ErrorKind.UNAVAILABLE, ErrorKind.TIMEOUT):
        assert problems.type_of(kind) == "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
    assert problems.type_of(ErrorKind.INVALID_INPUT) == "/docs/problems#invalid-input"


@pytest.mark.parametrize("seconds", [None, 0.0, 0.2, 1.0, 1.001, 59.5])
def test_retry_after_is_never_earlier_than_the_wait(seconds: float | None) -> None:
    for kind, wire in problems.TABLE.items():
        headers = problems.headers(PlatformError(kind, "x", retry_after_s=seconds))
        if wire.status in {429, 503}:
            assert int(headers["Retry-After"]) >= max(1, seconds or 0)
        else:
            assert "Retry-After" not in headers


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/v2", "/v2/nothing", "/v1/openapi.yaml", "/v2/models/a/b/c", "/v9/nothing", "/predict/", "/v2/me/x"],
)
def test_an_address_that_does_not_exist(db: None, path: str) -> None:
    assert_problem(Api().get(path), ErrorKind.NOT_FOUND, path)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v2/predict", "POST, OPTIONS"),
        ("PUT", "/v1/predict", "POST, OPTIONS"),
        ("DELETE", "/v2/batch-predict", "POST, OPTIONS"),
        ("PATCH", "/predict", "POST, OPTIONS"),
        ("GET", "/v2/models/sentiment/predict", "POST, OPTIONS"),
        ("POST", "/v2/models", "GET, HEAD, OPTIONS"),
        ("POST", "/v2/usage", "GET, HEAD, OPTIONS"),
        ("DELETE", "/v2/me", "GET, HEAD, OPTIONS"),
        ("TRACE", "/v2/me", "GET, HEAD, OPTIONS"),
        ("BREW", "/v2/predict", "POST, OPTIONS"),
    ],
)
def test_a_method_that_an_address_has_not(acme: Customer, method: str, path: str, allowed: str) -> None:
    answer = Api(acme).call(method, path)
    assert_problem(answer, ErrorKind.METHOD_NOT_ALLOWED, method)
    assert answer.headers["Allow"] == allowed


def still(limit: str) -> str:
    """A RateLimit header without the seconds until its reset, which pass between two calls."""
    return limit.partition(";t=")[0]


def test_head_is_get_without_a_body(acme: Customer) -> None:
    head, get = (Api(acme).call(method, "/v2/me") for method in ("HEAD", "GET"))
    assert (head.status, head.content) == (200, b"")
    assert still(head.headers["RateLimit"]) == still(get.headers["RateLimit"])
    assert head.headers["Content-Length"] == get.headers["Content-Length"]
    assert Api().call("HEAD", "/v2/me").status == 401


@pytest.mark.parametrize(("path", "allowed"), [("/v2/predict", "POST, OPTIONS"), ("/v2/models", "GET, HEAD, OPTIONS")])
def test_options_tells_the_methods_and_nothing_else(db: None, path: str, allowed: str) -> None:
    answer = Api().call("OPTIONS", path)
    assert (answer.status, answer.content) == (204, b"")
    assert answer.headers["Allow"] == allowed
