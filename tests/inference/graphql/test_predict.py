"""``predict``: what it answers and charges is REST's; several in one query run in parallel, each a call of its own."""

import pytest

from billing.models import LimitKind, LimitRule
from inference.models import VersionState
from tenants import api_keys
from tests.conftest import Customer
from tests.support import ledger
from tests.support.ending import make_schedule
from tests.support.graphql_schema import ask, refused, told
from tests.support.rest import Api, predict
from tests.support.tiny_model import POISON, TinyWorker, make_version, share_of
from tests.support.windows import AGES_S

PREDICT = """query($text: String, $input: PredictionInput, $model: String = "tiny", $topK: Int) {
    predict(model: $model, inputData: $text, input: $input, topK: $topK) {
        id requestId model { name version } predictions { label score } embedding cached units latencyMs error { code } } }"""


def spent(customer: Customer) -> list[tuple[int, str, str, bool, int]]:
    """What was charged for predictions: units, operation, model, cached, and how many calls it counts as."""
    return [
        (record.units, body["operation"], body["model"], body["cached"], body["requests"])
        for record in ledger.records(customer.tenant)
        if (body := record.body)["operation"] != "graphql"
    ]


def test_one_prediction(acme: Customer, tiny: TinyWorker) -> None:
    answer = ask(acme, PREDICT, {"text": "hello"}, headers={"x-request-id": "order-17", "user-agent": "a test"})
    result = answer.data["predict"]
    assert answer.errors == []
    assert result.pop("latencyMs") > 0
    share = round(share_of("hello"), 6)
    (record,) = [record for record in ledger.records(acme.tenant) if record.body["operation"] == "predict"]
    assert result == {
        "id": result["id"],
        "requestId": "order-17",
        "model": {"name": "tiny", "version": "1.0.0"},
        "predictions": [
            {"label": "no", "score": pytest.approx(1 - share)},
            {"label": "yes", "score": pytest.approx(share)},
        ],
        "embedding": None,
        "cached": False,
        "units": 1,
        "error": None,
    }
    assert record.units == 1
    assert {name: record.body[name] for name in ("request_id", "model_version", "api_version", "client")} == {
        "request_id": "order-17",
        "model_version": "1.0.0",
        "api_version": "graphql",
        "client": "a test",
    }
    assert answer.extensions["cost"] is not None


def test_it_charges_what_rest_charges(acme: Customer, globex: Customer, tiny: TinyWorker) -> None:
    for text in ("one", "one", "two"):
        assert predict(Api(globex), model="tiny", text=text).status == 200
        told(acme, PREDICT, {"text": text})
    assert spent(acme) == spent(globex)
    assert [units for units, *_ in spent(acme)] == [1, 0, 1]


def test_the_second_time_it_is_cached(acme: Customer, tiny: TinyWorker) -> None:
    first, second = (told(acme, PREDICT, {"text": "hello"})["predict"] for _ in range(2))
    assert (second["cached"], second["units"]) == (True, 0)
    assert second["predictions"] == first["predictions"]
    assert tiny.computed == ["hello"]


@pytest.mark.parametrize("structured", [{"text": "hello"}, {"text": "hello", "values": None}])
def test_text_as_a_structured_input(acme: Customer, tiny: TinyWorker, structured: dict[str, object]) -> None:
    assert told(acme, PREDICT, {"input": structured})["predict"]["model"]["name"] == "tiny"
    assert tiny.computed == ["hello"]


def test_top_k(acme: Customer, tiny: TinyWorker) -> None:
    (best,) = told(acme, PREDICT, {"text": "hello", "topK": 1})["predict"]["predictions"]
    assert best["label"] == "no"


def test_the_default_model(acme: Customer, tiny: TinyWorker) -> None:
    acme.tenant.default_model = "tiny"
    acme.tenant.save()
    assert told(acme, '{ predict(inputData: "x") { model { name } } }')["predict"]["model"] == {"name": "tiny"}


@pytest.mark.parametrize(
    ("variables", "code", "field"),
    [
        ({"text": " "}, "INVALID_INPUT", "inputData"),
        ({"text": "x" * 101}, "INVALID_INPUT", "inputData"),
        ({"input": {"text": ""}}, "INVALID_INPUT", "input.text"),
        ({"input": {"values": [1.0]}}, "INVALID_INPUT", "input.values"),
        ({"input": {"tensor": {"shape": [1], "values": [1.0]}}}, "INVALID_INPUT", "input.tensor"),
        ({"input": {"tensor": {"shape": [2], "values": [1.0]}}}, "INVALID_INPUT", "input.tensor.values"),
        ({"input": {"tensor": {"shape": [0], "values": []}}}, "INVALID_INPUT", "input.tensor.shape"),
        ({"input": {"tensor": {"shape": [], "values": []}}}, "INVALID_INPUT", "input.tensor.shape"),
        ({"input": {"tensor": {"shape": [1] * 9, "values": [1.0]}}}, "INVALID_INPUT", "input.tensor.shape"),
        ({"input": {}}, "INVALID_INPUT", "input"),
        ({"input": {"text": "x", "values": [1.0]}}, "INVALID_INPUT", "input"),
        ({}, "INVALID_INPUT", "inputData"),
        ({"text": "x", "input": {"text": "x"}}, "INVALID_INPUT", "inputData"),
        ({"text": "x", "topK": 0}, "INVALID_INPUT", "topK"),
        ({"text": "x", "topK": 1001}, "INVALID_INPUT", "topK"),
        ({"text": "x", "model": "unknown"}, "NOT_FOUND", "model"),
        ({"text": "x", "model": "tiny@9.9.9"}, "NOT_FOUND", "model"),
        ({"text": "x", "model": "m" * 131}, "INVALID_INPUT", "model"),
        ({"text": "x", "model": ""}, "INVALID_INPUT", "model"),
    ],
)
def test_what_is_refused(acme: Customer, tiny: TinyWorker, variables: dict[str, object], code: str, field: str) -> None:
    answer = ask(acme, PREDICT, variables)
    assert answer.data == {"predict": None}
    refused(answer, code, "predict", field=field)
    assert spent(acme) == []
    assert ledger.holds(acme.tenant) == 0
    assert tiny.computed == []


def test_numbers_that_are_none(acme: Customer, tiny: TinyWorker) -> None:
    tiny.serve(make_version("grid", runtime="tensor-classification", input_schema={"kind": "tensor", "shape": [2]}))
    answer = ask(acme, '{ predict(model: "grid", input: {values: [1e400, 0]}) { id } }')
    refused(answer, "INVALID_INPUT", "predict", field="input.values[0]")
    answer = ask(acme, '{ predict(model: "grid", input: {tensor: {shape: [1, 2], values: [1, 0]}}) { id } }')
    refused(answer, "INVALID_INPUT", "predict", field="input.tensor")
    assert spent(acme) == []


# --- Several in one query -----------------------------------------------------------------------------------------------


def test_aliases_run_in_parallel_and_are_calls_of_their_own(acme: Customer, tiny: TinyWorker) -> None:
    answer = ask(
        acme,
        """{ a: predict(model: "tiny", inputData: "one") { requestId predictions { label } units }
             b: predict(model: "tiny", inputData: "three") { requestId predictions { label } units }
             c: predict(model: "tiny", inputData: "three") { requestId units }
             d: predict(model: "unknown", inputData: "three") { units } }""",
        headers={"x-request-id": "many"},
    )
    assert [answer.data[name]["requestId"] for name in "abc"] == ["many", "many:2", "many:3"]
    assert answer.data["d"] is None
    error = refused(answer, "NOT_FOUND", "d", field="model")
    assert error["extensions"]["requestId"] == "many:4"
    assert len(tiny.batches) == 1
    assert sorted(tiny.computed) == ["one", "three"]
    # Equal inputs are computed once; the second is charged as cached, as it is over REST.
    assert sorted(spent(acme)) == [(units, "predict", "tiny", False, 1) for units in (0, 1, 1)]


def test_what_limits_refuse_leaves_the_others(acme: Customer, tiny: TinyWorker) -> None:
    LimitRule.objects.create(
        plan=acme.plan,
        name="few",
        kind=LimitKind.FIXED_WINDOW,
        amount=2,
        window_s=AGES_S,
        counts="requests",
        scope="key",
    )
    names = [f"p{number}" for number in range(4)]
    fields = " ".join(f'{name}: predict(model: "tiny", inputData: "{name}") {{ units }}' for name in names)
    answer = ask(acme, f"{{ {fields} }}", headers={"x-request-id": "few"})
    answered = [name for name in names if answer.data[name] is not None]
    refused_names = [error["path"][0] for error in answer.errors]
    assert 1 <= len(answered) <= 2
    assert sorted(answered + refused_names) == names
    assert {error["extensions"]["code"] for error in answer.errors} == {"QUOTA_EXCEEDED"}
    assert len(spent(acme)) == len(answered)
    assert ledger.holds(acme.tenant) == 0
    # Each can be explained by itself.
    explained = Api(acme).get(f"/v2/limits/explain/{answer.errors[-1]['extensions']['requestId']}")
    assert explained.status == 200


def test_a_poisoned_input_is_not_charged(acme: Customer, tiny: TinyWorker) -> None:
    answer = ask(
        acme,
        f"""{{ good: predict(model: "tiny", inputData: "fine") {{ units }}
               bad: predict(model: "tiny", inputData: "{POISON}") {{ units }} }}""",
    )
    assert answer.data == {"good": {"units": 1}, "bad": None}
    assert [error["path"] for error in answer.errors] == [["bad"]]
    assert spent(acme) == [(1, "predict", "tiny", False, 1)]
    assert ledger.holds(acme.tenant) == 0


# --- Who may ------------------------------------------------------------------------------------------------------------


def test_without_the_scope(acme: Customer, tiny: TinyWorker) -> None:
    secret = api_keys.issue(tenant=acme.tenant, name="Narrow", scopes=["batch", "usage:read"]).secret
    answer = ask(acme, '{ me { keyName } predict(model: "tiny", inputData: "x") { units } }', secret=secret)
    assert answer.data == {"me": {"keyName": "Narrow"}, "predict": None}
    assert refused(answer, "FORBIDDEN", "predict")["extensions"]["requiredScope"] == "predict"
    assert spent(acme) == []


def test_a_model_that_the_key_may_not_use_does_not_exist(acme: Customer, tiny: TinyWorker) -> None:
    tiny.serve(make_version("other"))
    secret = api_keys.issue(tenant=acme.tenant, name="Narrow", allowed_models=["other"]).secret
    forbidden = ask(acme, PREDICT, {"text": "x"}, secret=secret)
    refused(forbidden, "NOT_FOUND", "predict", field="model")
    assert spent(acme) == []


# --- Versions that end --------------------------------------------------------------------------------------------------


def test_a_pinned_version_that_ends_says_so(acme: Customer, tiny: TinyWorker) -> None:
    tiny.serve(make_version(version="0.9.0", state=VersionState.READY))
    make_schedule("model_version", "tiny@0.9.0", "tiny@1.0.0")
    answer = ask(acme, PREDICT, {"text": "x", "model": "tiny@0.9.0"})
    assert answer.data["predict"]["model"] == {"name": "tiny", "version": "0.9.0"}
    assert answer.headers["Deprecation"].startswith("@")
    assert answer.headers["X-API-Deprecated"] == "true"
    assert 'rel="successor-version"' in answer.headers["Link"] or "tiny" in answer.headers["Link"]
    assert "Deprecation" not in ask(acme, PREDICT, {"text": "x"}).headers


def test_a_pinned_version_that_ended_is_gone(acme: Customer, tiny: TinyWorker) -> None:
    tiny.serve(make_version(version="0.9.0", state=VersionState.READY))
    make_schedule("model_version", "tiny@0.9.0", "tiny@1.0.0", deprecated_days_ago=30, sunset_in_days=-1)
    answer = ask(acme, PREDICT, {"text": "x", "model": "tiny@0.9.0"})
    assert answer.data == {"predict": None}
    error = refused(answer, "GONE", "predict", field="model")
    assert error["extensions"]["successor"] == "tiny@1.0.0"
    assert answer.headers["X-API-Deprecated"] == "true"
    assert spent(acme) == []


@pytest.mark.parametrize(("kind", "other"), [("embedding", "scores"), ("scores", "embedding")])
def test_a_vector_is_named_for_what_it_is(acme: Customer, tiny_worker: TinyWorker, kind: str, other: str) -> None:
    tiny_worker.serve(make_version("vector", labels=[], output_schema={"kind": kind, "dimensions": 3}))
    answered = ask(acme, '{ predict(model: "vector", inputData: "x") { predictions { label } embedding scores } }')
    assert answered.errors == []
    found = answered.data["predict"]
    assert len(found[kind]) == 3
    assert (found[other], found["predictions"]) == (None, None)
