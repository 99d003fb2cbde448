"""Operations run: loaders, errors with their paths, scopes, charges, ``extensions.cost``."""

from typing import Any

import graphene
import pytest
from graphql import parse
from pytest_django import DjangoCaptureOnCommitCallbacks

from billing.models import LimitKind, LimitRule, Price
from mlplatform.graphql import operations
from mlplatform.graphql.deferred import DeferredContext
from mlplatform.lib.errors import unavailable
from tenants import api_keys, guards
from tenants.graphql.call import GraphQLCall
from tenants.guards import StaleCaller
from tenants.models import ApiKey
from tests.conftest import Customer
from tests.mlplatform.graphql import small_schema
from tests.mlplatform.graphql.small_schema import FETCHED, RAN
from tests.support import ledger
from tests.support.ending import make_schedule
from tests.support.graphql import ask, codes
from tests.support.rest import Api, assert_limit_headers, predict
from tests.support.tiny_model import TinyWorker, make_version


@pytest.fixture
def tiny(tiny_worker: TinyWorker) -> TinyWorker:
    tiny_worker.serve(make_version())
    return tiny_worker


def test_a_query_is_answered_and_charged(acme: Customer) -> None:
    answer = ask(Api(acme), "query Q($n: Int!) { thing(number: $n) { number word } }", {"n": 7})
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/graphql-response+json; charset=utf-8"
    assert answer.body["data"] == {"thing": {"number": 7, "word": "word 7"}}
    assert "errors" not in answer.body
    (record,) = ledger.records(acme.tenant)
    assert (record.units, record.body["operation"], record.body["api_version"], record.body["requests"]) == (
        1, "graphql", "graphql", 1,
    )  # fmt: skip
    cost = answer.body["extensions"]["cost"]
    assert (cost["requested"], cost["actual"]) == (1, 1)
    assert cost["throttle"]["policies"][0]["name"] == "burst"
    assert cost["throttle"]["limit"] == 1000
    limits = assert_limit_headers(answer)
    assert {policy["name"]: policy["remaining"] for policy in cost["throttle"]["policies"]} == {
        name: limit["r"] for name, limit in limits.items()
    }
    assert ledger.holds(acme.tenant) == 0


def test_a_lists_real_length_is_charged(acme: Customer) -> None:
    Price.objects.create(operation="graphql", per_input=3)
    answer = ask(Api(acme), "{ things(first: 50) { edges { node { number } } pageInfo { hasNextPage } } }")
    assert len(answer.body["data"]["things"]["edges"]) == 3
    cost = answer.body["extensions"]["cost"]
    assert cost["points"] == {"requested": 51, "actual": 4, "limit": 10_000}
    assert cost["units"]["graphql"] == {"requested": 153, "actual": 12}
    assert (cost["requested"], cost["actual"]) == (153, 12)
    assert ledger.units(acme.tenant) == 12
    assert ledger.holds(acme.tenant) == 0
    assert {policy["name"]: policy["remaining"] for policy in cost["throttle"]["policies"]}["included"] == 999_988


def test_loaders_fetch_once_a_level(acme: Customer) -> None:
    answer = ask(
        Api(acme),
        """{ a: thing(number: 1) { word others(first: 3) { word next { neededWord } } }
             b: thing(number: 2) { word others(first: 2) { word } } }""",
    )
    assert "errors" not in answer.body, answer.body
    assert answer.body["data"]["a"] == {
        "word": "word 1",
        "others": [{"word": f"word {number}", "next": {"neededWord": f"WORD {number + 1}"}} for number in (2, 3, 4)],
    }
    assert answer.body["data"]["b"]["others"] == [{"word": "word 3"}, {"word": "word 4"}]
    assert FETCHED == [[1, 2, 3, 4], [5]]


@pytest.mark.parametrize(
    ("query", "data", "paths"),
    [
        ("{ thing(number: 1) { number boom } }", {"thing": {"number": 1, "boom": None}}, [["thing", "boom"]]),
        ("{ thing(number: 1) { number neededBoom } hello }", {"thing": None, "hello": "Hello you"}, [["thing", "neededBoom"]]),
        ("{ thing(number: 13) { number word } }", {"thing": {"number": 13, "word": None}}, [["thing", "word"]]),
        ("{ thing(number: 13) { number neededWord } hello }", {"thing": None, "hello": "Hello you"}, [["thing", "neededWord"]]),
        (
            "{ thing(number: 11) { others(first: 1) { number neededWord } next { next { word } } } }",
            {"thing": {"others": [{"number": 12, "neededWord": "WORD 12"}], "next": {"next": {"word": None}}}},
            [["thing", "next", "next", "word"]],
        ),
        ("{ thing(number: 12) { others(first: 2) { number } } }", {"thing": {"others": None}}, [["thing", "others"]]),
        ("{ thing(number: 12) { a: others(first: 1) { number } b: next { neededWord } } hello }",
         {"thing": {"a": None, "b": None}, "hello": "Hello you"}, [["thing", "a"], ["thing", "b", "neededWord"]]),
        ("{ thing(number: 404) { number } hello }", {"thing": None, "hello": "Hello you"}, [["thing"]]),
    ],
)  # fmt: skip
def test_errors_null_their_field_and_no_other(
    acme: Customer, query: str, data: dict[str, object], paths: list[list[str]]
) -> None:
    answer = ask(Api(acme), query)
    assert answer.status == 200
    assert answer.body["data"] == data
    assert [error["path"] for error in answer.body["errors"]] == paths
    assert b"secret inside" not in answer.content
    assert ledger.holds(acme.tenant) == 0


def test_a_fetch_that_fails_fails_its_own_fields_only(acme: Customer) -> None:
    answer = ask(Api(acme), "{ a: thing(number: 99) { word } b: thing(number: 1) { word number } hello }")
    assert answer.body["data"] == {"a": {"word": None}, "b": {"word": None, "number": 1}, "hello": "Hello you"}
    assert codes(answer) == ["INTERNAL", "INTERNAL"]
    assert b"secret inside" not in answer.content


def test_an_error_says_what_programs_need(acme: Customer) -> None:
    answer = ask(Api(acme), "{ thing(number: 1) { neededBoom } }")
    (error,) = answer.body["errors"]
    assert error["message"] == "This thing is busy."
    assert error["locations"] == [{"line": 1, "column": 22}]
    assert error["extensions"] == {
        "code": "CONFLICT",
        "type": "/docs/problems#conflict",
        "field": "thing",
        "requestId": answer.headers["X-Request-Id"],
        "busyUntil": "noon",
    }


def test_what_fails_altogether_costs_nothing(acme: Customer) -> None:
    answer = ask(Api(acme), "{ thing(number: 404) { number } }")
    assert codes(answer) == ["NOT_FOUND"]
    assert answer.body["extensions"]["cost"]["actual"] == 0
    ledger.assert_untouched(acme)


def test_a_missing_scope_is_its_fields_error(acme: Customer) -> None:
    key = api_keys.issue(tenant=acme.tenant, name="Narrow", scopes=["predict"])
    answer = ask(Api(secret=key.secret), "{ things { edges { node { number } } } hello }")
    assert answer.body["data"] == {"things": None, "hello": "Hello you"}
    (error,) = answer.body["errors"]
    assert (error["extensions"]["code"], error["extensions"]["requiredScope"]) == ("FORBIDDEN", "usage:read")
    assert error["path"] == ["things"]
    assert RAN == ["hello"]


@pytest.mark.usefixtures("prices")
def test_a_prediction_costs_what_it_costs_in_rest(acme: Customer, globex: Customer, tiny: TinyWorker) -> None:
    answer = ask(
        Api(acme),
        '{ predict(model: "tiny", inputData: "yes!") { predictions { label score } units thing { number } } }',
    )
    rest = predict(Api(globex), model="tiny", text="yes!")
    assert answer.body["data"]["predict"]["predictions"] == rest.body["predictions"]
    (mine,), (theirs,) = ledger.records(acme.tenant), ledger.records(globex.tenant)
    assert mine.units == theirs.units == 1
    assert (mine.body["operation"], mine.body["api_version"]) == ("predict", "graphql")
    assert mine.body["request_id"] == answer.headers["X-Request-Id"]
    cost = answer.body["extensions"]["cost"]
    assert cost["units"] == {
        "graphql": {"requested": 0, "actual": 0},
        "predictions": {"requested": 1, "actual": 1},
    }
    again = ask(Api(acme), '{ predict(model: "tiny", inputData: "yes!") { cached units } }')
    assert again.body["data"]["predict"] == {"cached": True, "units": 0}
    assert (again.body["extensions"]["cost"]["requested"], again.body["extensions"]["cost"]["actual"]) == (1, 0)


@pytest.mark.usefixtures("prices")
def test_predictions_and_reading_are_charged_apart(acme: Customer, tiny: TinyWorker) -> None:
    query = """{
        thing(number: 1) { number }
        a: predict(model: "tiny", inputData: "a") { units }
        b: predict(model: "tiny", inputData: "bb") { units }
        c: predict(model: "none", inputData: "c") { units }
    }"""
    answer = ask(Api(acme), query)
    assert codes(answer) == ["NOT_FOUND"]
    assert answer.body["data"]["a"] == answer.body["data"]["b"] == {"units": 1}
    charged = [(one.units, one.body["operation"], one.body["requests"]) for one in ledger.records(acme.tenant)]
    assert sorted(charged) == [(1, "graphql", 0), (1, "predict", 1), (1, "predict", 1)]
    assert answer.body["extensions"]["cost"]["requested"] == 4
    assert answer.body["extensions"]["cost"]["actual"] == 3
    assert ledger.holds(acme.tenant) == 0


@pytest.mark.usefixtures("prices")
def test_an_operation_with_predictions_fits_into_one_place(acme: Customer, tiny: TinyWorker) -> None:
    LimitRule.objects.create(
        plan=acme.plan, name="at once", kind=LimitKind.CONCURRENCY, counts="requests", amount=1
    )  # fmt: skip
    answer = ask(Api(acme), '{ thing(number: 1) { number } predict(model: "tiny", inputData: "a") { units } }')
    assert "errors" not in answer.body, answer.body


def test_a_key_that_changed_is_read_anew_and_charged_once(
    acme: Customer, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    api = Api(acme)
    assert ask(api, "{ hello }").status == 200
    ApiKey.objects.update(scopes=["predict"])
    with django_capture_on_commit_callbacks(execute=True):
        guards.key_changed(acme.key.pk)
    RAN.clear()
    batch = [{"query": "{ dear }"}, {"query": "{ things { edges { node { number } } } dear }"}]
    answer = api.post("/graphql", batch)
    assert answer.body[0]["data"] == {"dear": "dear"}
    assert answer.body[1]["data"] == {"things": None, "dear": "dear"}
    assert RAN == ["dear", "dear"]
    assert ledger.units(acme.tenant) == 200


@pytest.mark.usefixtures("prices")
def test_what_was_charged_is_not_done_again_for_a_key_that_changes_meanwhile(
    acme: Customer, tiny: TinyWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = small_schema.PredictLoader.fetch

    def fetch(self: small_schema.PredictLoader, keys: Any) -> Any:
        real(self, keys)
        raise StaleCaller

    monkeypatch.setattr(small_schema.PredictLoader, "fetch", fetch)
    answer = ask(Api(acme), '{ predict(model: "tiny", inputData: "a") { units } }')
    assert (answer.status, codes(answer)) == (200, ["UNAVAILABLE"])
    assert tiny.computed == ["a"]
    assert ledger.units(acme.tenant) == 1


@pytest.mark.parametrize("error", [StaleCaller(), unavailable("Redis is away.")])
def test_what_was_charged_is_answered_though_the_limits_cannot_be_told(
    acme: Customer, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def away(contract: Any) -> None:
        raise error

    monkeypatch.setattr(operations, "peek", away)
    # A page is shorter than it may be, so the limits after the charge are asked for.
    answer = ask(Api(acme), "{ things(first: 50) { edges { node { number } } } }")
    assert (answer.status, codes(answer)) == (200, [])
    assert answer.body["extensions"]["cost"]["actual"] == 4
    assert_limit_headers(answer)
    assert RAN.count("things") == 1
    assert ledger.units(acme.tenant) == 4
    assert ledger.holds(acme.tenant) == 0


@pytest.mark.usefixtures("prices")
def test_the_schema_counts_as_a_request_beside_a_prediction_that_fails(acme: Customer, tiny: TinyWorker) -> None:
    answer = ask(Api(acme), '{ predict(model: "none", inputData: "a") { units } __schema { queryType { name } } }')
    assert codes(answer) == ["NOT_FOUND"]
    assert answer.body["data"]["__schema"] == {"queryType": {"name": "Query"}}
    (record,) = ledger.records(acme.tenant)
    assert (record.units, record.body["operation"], record.body["requests"]) == (0, "graphql", 1)


class Numbers(graphene.ObjectType):  # type: ignore[misc]
    plain = graphene.List(graphene.NonNull(graphene.Float))
    holed = graphene.List(graphene.Float)
    wrong = graphene.List(graphene.Float)
    needed = graphene.List(graphene.NonNull(graphene.Float))
    one = graphene.List(graphene.Float)


def test_lists_of_scalars() -> None:
    schema = graphene.Schema(query=Numbers).graphql_schema
    context = DeferredContext.build(
        schema, parse("{ plain holed wrong needed one }"), context_value=GraphQLCall(caller=None, request_id="r")
    )
    assert isinstance(context, DeferredContext)
    root = {"plain": (1, 2.5), "holed": [1.0, None], "wrong": [1.0, "x", 2.0], "needed": [1.0, None], "one": 7}
    assert context.execute_operation(context.operation, root) == {
        "plain": [1.0, 2.5], "holed": [1.0, None], "wrong": [1.0, None, 2.0], "needed": None, "one": None,
    }  # fmt: skip
    assert [error.path for error in context.collected_errors.errors] == [["wrong", 1], ["needed", 1], ["one"]]


def test_a_mistake_of_ours_costs_nothing(acme: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: DeferredContext, *_: Any) -> None:
        raise RuntimeError("secret inside")

    monkeypatch.setattr(DeferredContext, "execute_operation", broken)
    answer = ask(Api(acme), "{ dear }")
    assert (answer.status, codes(answer)) == (500, ["INTERNAL"])
    assert b"secret inside" not in answer.content
    assert ledger.units(acme.tenant) == 0
    assert ledger.holds(acme.tenant) == 0


def test_an_ending_model_version_is_told_in_headers(acme: Customer, tiny: TinyWorker) -> None:
    tiny.serve(make_version(version="2.0.0", state="ready"))
    make_schedule(kind="model_version", subject="tiny@1.0.0", successor="tiny@2.0.0")
    answer = ask(Api(acme), '{ predict(model: "tiny@1.0.0", inputData: "a") { units } }')
    assert answer.status == 200
    assert answer.headers["Deprecation"].startswith("@")
    assert "tiny@2.0.0" in answer.headers["Link"]
