"""``batchPredict``: every input through every model as one call, whose items fail by themselves."""

from typing import Any

import pytest
from pytest_django import Settings

from billing.models import LimitRule
from inference.engine import predict as prediction
from inference.engine.permits import permits
from inference.types import CallContext
from tenants import api_keys
from tests.conftest import Customer
from tests.inference.graphql.test_predict import spent
from tests.support import ledger
from tests.support.graphql_schema import ask, refused, told
from tests.support.rest import Api
from tests.support.tiny_model import TinyWorker, make_version, share_of

BATCH = """query($inputs: [String!]!, $models: [String!]!) {
    batchPredict(inputs: $inputs, models: $models) {
        id requestId model { name version } predictions { label score } cached units error { code message field } } }"""


@pytest.fixture
def both(tiny: TinyWorker) -> TinyWorker:
    """The models ``tiny`` and ``large``; an input of the latter costs 10."""
    tiny.serve(make_version("large"))
    return tiny


def test_rows_are_inputs_and_columns_models(acme: Customer, both: TinyWorker) -> None:
    rows = told(acme, BATCH, {"inputs": ["one", "three"], "models": ["tiny", "large"]})["batchPredict"]
    assert [[item["model"] for item in row] for row in rows] == [
        [{"name": "tiny", "version": "1.0.0"}, {"name": "large", "version": "1.0.0"}]
    ] * 2
    for text, row in zip(("one", "three"), rows, strict=True):
        for item in row:
            scores = {one["label"]: one["score"] for one in item["predictions"]}
            assert scores["yes"] == pytest.approx(share_of(text), abs=1e-6)
            assert item["error"] is None
    assert len({item["requestId"] for row in rows for item in row}) == 1


def test_it_is_charged_as_rests_batch(acme: Customer, globex: Customer, both: TinyWorker) -> None:
    answer = ask(acme, BATCH, {"inputs": ["one", "three"], "models": ["tiny", "large"]})
    requests = [{"model": model, "input": text} for text in ("one", "three") for model in ("tiny", "large")]
    assert Api(globex).post("/v2/batch-predict", {"requests": requests}).status == 200
    assert sorted(spent(acme)) == sorted(spent(globex))
    assert sum(units for units, *_ in spent(acme)) == 54
    assert sum(calls for *_, calls in spent(acme)) == 1
    assert answer.errors == []
    assert len(both.batches) == 4  # one a model and customer


def test_items_fail_by_themselves(acme: Customer, both: TinyWorker) -> None:
    answer = ask(acme, BATCH, {"inputs": ["one", " "], "models": ["tiny", "unknown"]})
    (good, unknown), (empty, both_wrong) = answer.data["batchPredict"]
    assert good["error"] is None
    assert good["units"] == 1
    for item, code, field in (
        (unknown, "NOT_FOUND", "models[1]"),
        (empty, "INVALID_INPUT", "inputs[1]"),
        (both_wrong, "NOT_FOUND", "models[1]"),
    ):
        assert (item["error"]["code"], item["error"]["field"]) == (code, field)
        assert (item["id"], item["predictions"], item["units"], item["cached"]) == (None, None, 0, False)
    assert unknown["model"] == {"name": "unknown", "version": None}
    assert [(error["path"], error["extensions"]["code"]) for error in answer.errors] == [
        (["batchPredict", 0, 1, "predictions"], "NOT_FOUND"),
        (["batchPredict", 1, 0, "predictions"], "INVALID_INPUT"),
        (["batchPredict", 1, 1, "predictions"], "NOT_FOUND"),
    ]
    assert sorted(units for units, *_ in spent(acme)) == [1, 50]


def test_a_failed_item_is_in_errors_once(acme: Customer, both: TinyWorker) -> None:
    answer = ask(
        acme, '{ batchPredict(inputs: [" "], models: ["tiny"]) { embedding predictions { label } error { code } } }'
    )
    assert answer.data["batchPredict"] == [
        [{"embedding": None, "predictions": None, "error": {"code": "INVALID_INPUT"}}]
    ]
    refused(answer, "INVALID_INPUT", "batchPredict", 0, 0, "embedding")
    assert spent(acme) == []


def test_a_refusal_of_the_call_leaves_the_other_fields(acme: Customer, both: TinyWorker) -> None:
    secret = api_keys.issue(tenant=acme.tenant, name="Narrow", scopes=["predict"]).secret
    answer = ask(
        acme,
        """{ predict(model: "tiny", inputData: "x") { units }
             batchPredict(inputs: ["x", "y"], models: ["tiny"]) { predictions { label } error { code } } }""",
        secret=secret,
    )
    assert answer.data == {
        "predict": {"units": 1},
        "batchPredict": [[{"predictions": None, "error": {"code": "FORBIDDEN"}}]] * 2,
    }
    error = refused(answer, "FORBIDDEN", "batchPredict", 0, 0, "predictions")
    assert error["extensions"]["requiredScope"] == "batch"
    assert spent(acme) == [(1, "predict", "tiny", False, 1)]


def test_a_call_that_its_limits_refuse(acme: Customer, both: TinyWorker) -> None:
    LimitRule.objects.filter(plan=acme.plan).update(amount=100)
    answer = ask(acme, BATCH, {"inputs": [f"text {number}" for number in range(51)], "models": ["large"]})
    # 51 units and the fee of 50: more than the bucket can ever let pass.
    assert {item["error"]["code"] for (item,) in answer.data["batchPredict"]} == {"CHARGE_TOO_LARGE"}
    refused(answer, "CHARGE_TOO_LARGE", "batchPredict", 0, 0, "predictions")
    assert spent(acme) == []
    assert ledger.holds(acme.tenant) == 0
    assert both.computed == []


def test_several_batches_and_predictions_run_together(acme: Customer, both: TinyWorker) -> None:
    answer = ask(
        acme,
        """{ a: batchPredict(inputs: ["a"], models: ["tiny"]) { units requestId }
             b: batchPredict(inputs: ["b"], models: ["tiny"]) { units requestId }
             c: predict(model: "tiny", inputData: "c") { units requestId } }""",
        headers={"x-request-id": "three"},
    )
    assert answer.errors == []
    assert answer.data["a"][0][0] == {"units": 1, "requestId": "three"}
    assert answer.data["b"][0][0] == {"units": 1, "requestId": "three:2"}
    assert answer.data["c"] == {"units": 1, "requestId": "three:3"}
    assert sorted(units for units, *_ in spent(acme)) == [1, 1, 1, 50, 50]


def test_a_call_that_breaks_takes_no_place_of_the_others_with_it(
    acme: Customer, both: TinyWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = prediction.begin

    def broken(caller: Any, requests: Any, context: CallContext, **more: Any) -> prediction.Started:
        if context.operation == "batch":
            raise RuntimeError("a mistake of ours")
        return begin(caller, requests, context, **more)

    monkeypatch.setattr(prediction, "begin", broken)
    answer = ask(
        acme,
        """{ a: predict(model: "tiny", inputData: "a") { units }
             b: batchPredict(inputs: ["b"], models: ["tiny"]) { units } }""",
    )
    assert len(answer.errors) == 1
    assert ledger.holds(acme.tenant) == 0
    assert permits()._taken == {}


@pytest.mark.parametrize(
    ("variables", "field"),
    [
        ({"inputs": [], "models": ["tiny"]}, "inputs"),
        ({"inputs": ["x"], "models": []}, "models"),
        ({"inputs": ["x"] * 5, "models": ["tiny"] * 4}, "inputs"),
        ({"inputs": ["x"], "models": ["tiny", "m" * 131]}, "models[1]"),
    ],
)
def test_more_or_less_than_a_call_takes(
    acme: Customer, both: TinyWorker, settings: Settings, variables: dict[str, object], field: str
) -> None:
    settings.MAX_BATCH_REQUESTS = 16
    query = BATCH.replace("{\n    batch", '{ predict(model: "tiny", inputData: "x") { units }\n    batch')
    answer = ask(acme, query, variables)
    # The field cannot be null; but nothing of the query has run by then.
    assert answer.data is None
    refused(answer, "INVALID_INPUT", "batchPredict", field=field)
    assert spent(acme) == []
    assert ledger.holds(acme.tenant) == 0
    assert both.computed == []
