"""GraphQL over HTTP: methods, media types, members, lists, and the status of everything that is refused."""

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from pytest_django import Settings

from mlplatform.graphql import negotiation, refusals
from mlplatform.lib.errors import ErrorKind
from tenants import trusted_documents
from tests.conftest import Customer
from tests.mlplatform.graphql.small_schema import RAN
from tests.support import ledger
from tests.support.graphql import GRAPHQL_JSON, ask, assert_refused
from tests.support.rest import Api, assert_limit_headers

JSON = "application/json"
HELLO = {"query": "{ hello }"}


def test_every_kind_has_its_code() -> None:
    assert set(refusals.TABLE) == set(ErrorKind)
    assert len({wire.code for wire in refusals.TABLE.values()}) == len(ErrorKind)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        (JSON, JSON),
        (GRAPHQL_JSON, GRAPHQL_JSON),
        (f"{GRAPHQL_JSON}, {JSON};q=0.9", GRAPHQL_JSON),
        (f"{JSON};q=0.5, {GRAPHQL_JSON};q=0.9", GRAPHQL_JSON),
        (f"{JSON}, {GRAPHQL_JSON};q=0.9", JSON),
        (f"{GRAPHQL_JSON};charset=utf-8", GRAPHQL_JSON),
        ("text/html", None),
        ("image/png, text/*;q=0.1", None),
        (f"{JSON};q=0", None),
        (f"{JSON};q=nan", None),
        (f"{JSON};q=2", None),
        (",;,;q=,", None),
    ],
)
def test_accept(accept: str, expected: str | None) -> None:
    assert negotiation.accepted(accept) == expected


def test_the_media_type_is_what_was_asked_for(acme: Customer) -> None:
    api = Api(acme)
    assert api.post("/graphql", HELLO).headers["Content-Type"] == "application/json; charset=utf-8"
    answer = api.post("/graphql", HELLO, headers={"accept": GRAPHQL_JSON})
    assert answer.headers["Content-Type"] == f"{GRAPHQL_JSON}; charset=utf-8"
    assert "Accept" in answer.headers["Vary"]
    before = ledger.units(acme.tenant)
    assert_refused(api.post("/graphql", HELLO, headers={"accept": "image/png"}), "NOT_ACCEPTABLE", status=406)
    assert ledger.units(acme.tenant) == before


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b"{", JSON, 400, "MALFORMED"),
        (b" ", JSON, 400, "MALFORMED"),
        (b"[]", JSON, 400, "MALFORMED"),
        (b"7", JSON, 400, "MALFORMED"),
        (b"null", JSON, 400, "MALFORMED"),
        (b"[7]", JSON, 400, "MALFORMED"),
        (b"[[]]", JSON, 400, "MALFORMED"),
        (b"{}", JSON, 400, "MALFORMED"),
        (b'{"query": null}', JSON, 400, "MALFORMED"),
        (b'{"query": ""}', JSON, 400, "MALFORMED"),
        (b'{"query": ["{ hello }"]}', JSON, 400, "MALFORMED"),
        (b'{"query": "{ hello }", "variables": []}', JSON, 400, "MALFORMED"),
        (b'{"query": "{ hello }", "variables": "{}"}', JSON, 400, "MALFORMED"),
        (b'{"query": "{ hello }", "operationName": 7}', JSON, 400, "MALFORMED"),
        (b'{"query": "{ hello }", "operationName": {}}', JSON, 400, "MALFORMED"),
        (b'{"query": "{ hello }", "extensions": []}', JSON, 400, "MALFORMED"),
        (b'{"query": "{ hello }", "extensions": {"persistedQuery": 1}}', JSON, 400, "MALFORMED"),
        (b'{"query": "{ hello }", "extensions": {"persistedQuery": {"sha256Hash": "x"}}}', JSON, 400, "MALFORMED"),
        (b'{"query": "{ hello }", "documentId": 7}', JSON, 400, "MALFORMED"),
        (b'{"documentId": "sha256:zz"}', JSON, 400, "MALFORMED"),
        (b'{"query": "{ hello }", "quarry": 1}', JSON, 400, "MALFORMED"),
        (b'{"query": "{ hello }", "query": "{ dear }"}', JSON, 400, "MALFORMED"),
        (b'{"query": "{ hello }", "variables": {"a": NaN}}', JSON, 400, "MALFORMED"),
        (b'{"query": "{ hello }", "variables": {"a": 1e400}}', JSON, 400, "MALFORMED"),
        (b'{"query": "{ hello }", "variables": {"a": "\\ud800"}}', JSON, 400, "MALFORMED"),
        (b'{"query": "{ hello }", "variables": {"a": "\\u0000"}}', JSON, 400, "MALFORMED"),
        (b'{"query": "{ hello \\ud800 }"}', JSON, 400, "MALFORMED"),
        (b'\xff{"query": "{ hello }"}', JSON, 400, "MALFORMED"),
        (b'{"query": "{ hello"}', JSON, 400, "GRAPHQL_PARSE_FAILED"),
        (b'{"query": "not graphql"}', JSON, 400, "GRAPHQL_PARSE_FAILED"),
        (b'{"query": "fragment F on Query { hello }"}', JSON, 400, "GRAPHQL_PARSE_FAILED"),
        (b'{"query": "type A { b: Int }"}', JSON, 400, "GRAPHQL_PARSE_FAILED"),
        (b'{"query": "{ hello }"}', "text/plain", 415, "UNSUPPORTED_MEDIA_TYPE"),
        (b'{"query": "{ hello }"}', "application/graphql", 415, "UNSUPPORTED_MEDIA_TYPE"),
        (b'{"query": "{ hello }"}', "application/json; charset=latin1", 415, "UNSUPPORTED_MEDIA_TYPE"),
        (b"query=%7Bhello%7D", "application/x-www-form-urlencoded", 415, "UNSUPPORTED_MEDIA_TYPE"),
        (b"--b\r\n\r\n--b--", "multipart/form-data; boundary=b", 415, "UNSUPPORTED_MEDIA_TYPE"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("accept", [JSON, GRAPHQL_JSON])
def test_bad_requests(acme: Customer, body: bytes, content_type: str, status: int, code: str, accept: str) -> None:
    answer = Api(acme).call("POST", "/graphql", content=body, content_type=content_type, headers={"accept": accept})
    assert_refused(answer, code, status=status)
    assert RAN == []
    ledger.assert_untouched(acme)


def test_a_body_that_is_compressed_otherwise(acme: Customer) -> None:
    answer = Api(acme).post("/graphql", HELLO, headers={"content-encoding": "br"})
    assert_refused(answer, "UNSUPPORTED_MEDIA_TYPE", status=415)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("query ($unused: Int) { hello }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { hello }", "GRAPHQL_VALIDATION_FAILED"),
        ("query ($n: Int!) { thing(number: $n) { number } }", "VARIABLES_INVALID"),
        ("query A { hello } query B { hello }", "OPERATION_UNKNOWN"),
    ],
)
def test_what_is_wrong_with_a_document_has_a_status_by_media_type(acme: Customer, query: str, code: str) -> None:
    assert_refused(ask(Api(acme), query), code, status=400)
    assert_refused(ask(Api(acme), query, accept=JSON), code, status=200)
    assert RAN == []
    ledger.assert_untouched(acme)


def test_an_operation_is_chosen_by_name(acme: Customer) -> None:
    two = "query A { hello } query B { dear }"
    assert ask(Api(acme), two, operationName="B").body["data"] == {"dear": "dear"}
    assert_refused(ask(Api(acme), two, operationName="C"), "OPERATION_UNKNOWN")
    assert ask(Api(acme), "{ hello }", operationName=None, variables=None, extensions=None).status == 200


def test_wrong_variables_are_told(acme: Customer) -> None:
    query = "query ($n: Int!) { thing(number: $n) { number } }"
    wrong_ones: list[Any] = ["7", 7.5, True, None, [1], {}, 2**40]
    for wrong in wrong_ones:
        error = assert_refused(ask(Api(acme), query, {"n": wrong}), "VARIABLES_INVALID")
        assert "$n" in error["message"]
    assert_refused(ask(Api(acme), "{ thing(number: 99999999999) { number } }"), "GRAPHQL_VALIDATION_FAILED")
    ledger.assert_untouched(acme)


def test_queries_by_get(acme: Customer) -> None:
    address = "/graphql?" + urlencode(
        {"query": "query Q($n: Int!) { thing(number: $n) { number } }", "variables": '{"n": 3}', "operationName": "Q"}
    )
    answer = Api(acme).get(address, headers={"accept": GRAPHQL_JSON})
    assert (answer.status, answer.body["data"]) == (200, {"thing": {"number": 3}})
    assert ledger.units(acme.tenant) == 1


@pytest.mark.parametrize(
    "address",
    [
        "/graphql",
        "/graphql?query=",
        "/graphql?query={hello}&query={hello}",
        "/graphql?query={hello}&variables=[1]",
        "/graphql?query={hello}&variables={",
        "/graphql?query={hello}&quarry=1",
        "/graphql?query={hello}&variables=" + "[" * 3000,
    ],
)
def test_bad_addresses(acme: Customer, address: str) -> None:
    assert_refused(Api(acme).get(address, headers={"accept": GRAPHQL_JSON}), "MALFORMED")
    ledger.assert_untouched(acme)


def test_a_mutation_goes_by_post_only(acme: Customer) -> None:
    mutation = 'mutation { rename(name: "x") { name } }'
    answer = Api(acme).get("/graphql?" + urlencode({"query": mutation}))
    assert_refused(answer, "METHOD_NOT_ALLOWED", status=405)
    assert answer.headers["Allow"] == "POST"
    assert RAN == []
    ledger.assert_untouched(acme)
    assert ask(Api(acme), mutation).body["data"] == {"rename": {"name": "x"}}


RENAME = 'mutation { rename(name: "x") { name } }'


@pytest.mark.parametrize("accept", [JSON, GRAPHQL_JSON])
@pytest.mark.parametrize(
    "members",
    [
        {"query": "mutation{x}"},
        {"query": "mutation { __typename }"},
        {"query": "mutation Named($unused: Nothing) { rename }"},
        {"query": "mutation ($name: String!) { rename(name: $name) { name } }", "variables": "{}"},
        {"query": f"query A {{ hello }} {RENAME.replace('mutation', 'mutation B')}", "operationName": "B"},
        {"query": "mutation A { x } mutation B { x }"},
        {"query": '# query {\n  mutation { rename(name: "{ hello }") { name } }'},
    ],
    ids=lambda members: members["query"][:30],
)
def test_every_mutation_goes_by_post_only(acme: Customer, members: dict[str, str], accept: str) -> None:
    """Also one that could not run anyway."""
    answer = Api(acme).get("/graphql?" + urlencode(members), headers={"accept": accept})
    assert_refused(answer, "METHOD_NOT_ALLOWED", status=405)
    assert answer.headers["Allow"] == "POST"
    assert RAN == []
    ledger.assert_untouched(acme)


@pytest.mark.parametrize("way", ["documentId", "extensions"])
def test_a_mutation_in_a_trusted_document_goes_by_post_only(acme: Customer, way: str) -> None:
    row = trusted_documents.register(tenant=acme.tenant, name="Rename", text=RENAME, judge=lambda _: "")
    persisted = json.dumps({"persistedQuery": {"version": 1, "sha256Hash": row.sha256}})
    members = {"documentId": row.sha256} if way == "documentId" else {"extensions": persisted}

    def by_get() -> None:
        answer = Api(acme).get("/graphql?" + urlencode(members))
        assert_refused(answer, "METHOD_NOT_ALLOWED", status=405)
        assert answer.headers["Allow"] == "POST"
        assert RAN == []

    by_get()
    ledger.assert_untouched(acme)
    body = {name: json.loads(value) if name == "extensions" else value for name, value in members.items()}
    assert Api(acme).post("/graphql", body).body["data"] == {"rename": {"name": "x"}}
    spent = ledger.units(acme.tenant)
    RAN.clear()
    by_get()  # Now that the document is known.
    assert ledger.units(acme.tenant) == spent


@pytest.mark.parametrize(
    "members",
    [
        {"query": "{ hello }"},
        {"query": f"query A {{ hello }} {RENAME.replace('mutation', 'mutation B')}", "operationName": "A"},
        {"query": 'query { thing(number: 1) { number } hello } # mutation { rename(name: "x") { name } }'},
    ],
)
def test_queries_go_by_get(acme: Customer, members: dict[str, str]) -> None:
    answer = Api(acme).get("/graphql?" + urlencode(members))
    assert answer.status == 200
    assert answer.body["data"]["hello"]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "BREW"])
def test_other_methods(acme: Customer, method: str) -> None:
    answer = Api(acme).call(method, "/graphql", content=json.dumps(HELLO).encode())
    assert_refused(answer, "METHOD_NOT_ALLOWED", status=405)
    assert answer.headers["Allow"] == "GET, POST, OPTIONS"


def test_options_tell_the_methods(acme: Customer) -> None:
    answer = Api(acme).call("OPTIONS", "/graphql")
    assert (answer.status, answer.headers["Allow"]) == (204, "GET, POST, OPTIONS")


# --- Lists of operations ---------------------------------------------------------------------------------------------


def test_each_operation_of_a_list_has_its_own_result(acme: Customer) -> None:
    answer = Api(acme).post(
        "/graphql",
        [
            HELLO,
            {"query": "{ nothing }"},
            {"query": "{"},
            {"query": "{ thing(number: 404) { number } }"},
            {"query": "{ dear }"},
        ],
        headers={"accept": GRAPHQL_JSON, "x-request-id": "list-1"},
    )
    assert answer.status == 200
    assert [list(one) for one in answer.body] == [
        ["data", "extensions"], ["errors"], ["errors"], ["errors", "data", "extensions"], ["data", "extensions"],
    ]  # fmt: skip
    assert [one["errors"][0]["extensions"]["requestId"] for one in answer.body[1:4]] == [
        "list-1-2",
        "list-1-3",
        "list-1-4",
    ]
    assert ledger.units(acme.tenant) == 100
    assert {record.body["request_id"] for record in ledger.records(acme.tenant)} == {"list-1", "list-1-5"}
    assert_limit_headers(answer)


def test_a_list_of_one_is_answered_with_a_list(acme: Customer) -> None:
    assert [one["data"] for one in Api(acme).post("/graphql", [HELLO]).body] == [{"hello": "Hello you"}]


def test_a_list_that_is_too_long(acme: Customer) -> None:
    error = assert_refused(Api(acme).post("/graphql", [HELLO] * 11), "BATCH_TOO_LARGE")
    assert error["extensions"]["limit"] == 10
    assert RAN == []
    ledger.assert_untouched(acme)


def test_a_list_shares_the_limits_of_one_request(acme: Customer, settings: Settings) -> None:
    settings.GRAPHQL_MAX_COST = 250
    answer = Api(acme).post("/graphql", [{"query": "{ dear }"}] * 4)
    assert ["errors" in one for one in answer.body] == [False, False, True, True]
    assert answer.body[2]["errors"][0]["extensions"]["code"] == "COST_TOO_HIGH"
    aliased = {"query": "{ " + " ".join(f"a{i}: hello" for i in range(20)) + " }"}
    answer = Api(acme).post("/graphql", [aliased] * 2)
    assert answer.body[1]["errors"][0]["extensions"]["code"] == "TOO_MANY_ALIASES"
