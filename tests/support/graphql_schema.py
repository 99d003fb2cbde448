"""Queries of a customer's program to ``/graphql``, and the one error that an answer has."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.conftest import Customer
from tests.support import graphql
from tests.support.rest import Api


@dataclass(frozen=True)
class Answered:
    """The members of the answer; ``errors`` is empty where it has none."""

    data: Any
    errors: list[dict[str, Any]]
    extensions: dict[str, Any]
    headers: Mapping[str, str]
    status: int


def ask(
    customer: Customer,
    query: str,
    variables: dict[str, Any] | None = None,
    *,
    secret: str = "",
    headers: dict[str, str] | None = None,
) -> Answered:
    """The answer to a query with the customer's key, or with another one's secret."""
    api = Api(customer, secret=secret)
    body: dict[str, Any] = {"query": query}
    if variables is not None:
        body["variables"] = variables
    answer = api.post("/graphql", body, headers={"accept": graphql.GRAPHQL_JSON, **(headers or {})})
    return Answered(
        answer.body.get("data"),
        answer.body.get("errors", []),
        answer.body.get("extensions", {}),
        answer.headers,
        answer.status,
    )


def told(customer: Customer, query: str, variables: dict[str, Any] | None = None, *, secret: str = "") -> Any:
    """The data of a query that has no errors."""
    answer = ask(customer, query, variables, secret=secret)
    assert answer.errors == [], answer.errors
    assert answer.status == 200
    return answer.data


def refused(answer: Answered, code: str, *path: str | int, field: str | None = None) -> dict[str, Any]:
    """The only error of the answer has this code and stands at this path."""
    (error,) = answer.errors
    assert error["extensions"]["code"] == code, error
    assert error.get("path", []) == list(path), error
    if field is not None:
        assert error["extensions"]["field"] == field, error
    return error
