"""Calls of ``/graphql`` through the WSGI application, and what must be true of their answers."""

from typing import Any, Final

from tests.support.rest import Answer, Api

GRAPHQL_JSON: Final = "application/graphql-response+json"


def ask(
    api: Api, query: str, variables: dict[str, Any] | None = None, *, accept: str = GRAPHQL_JSON, **members: Any
) -> Answer:
    """One operation by POST, with the media type that has statuses of its own."""
    body: dict[str, Any] = {"query": query, **members}
    if variables is not None:
        body["variables"] = variables
    return api.post("/graphql", body, headers={"accept": accept})


def codes(answer: Answer) -> list[str]:
    """The codes of the answer's errors, in order."""
    return [error["extensions"]["code"] for error in answer.body.get("errors", [])]


def assert_refused(answer: Answer, code: str, *, status: int = 400) -> dict[str, Any]:
    """The whole operation was refused with this code; gives the first error."""
    assert answer.status == status, answer.content[:1000]
    assert codes(answer)[0] == code, answer.content[:1000]
    assert "data" not in answer.body
    error: dict[str, Any] = answer.body["errors"][0]
    assert error["extensions"]["requestId"] == answer.headers["X-Request-Id"]
    assert error["extensions"]["type"]
    assert len(answer.content) < 20_000
    return error
