"""``?model=`` names the model of a prediction, in every API version; it must agree with a path or body that names one too."""

from typing import Any

import pytest

from mlplatform.lib.errors import ErrorKind
from tests.conftest import Customer
from tests.support import ledger
from tests.support.live_worker import LiveWorker
from tests.support.rest import Answer, Api, assert_problem

pytestmark = pytest.mark.usefixtures("prices")
GOOD = {"input": "A fine day."}


@pytest.fixture(autouse=True)
def default(acme: Customer) -> None:
    """Calls that name no model get ``sentiment``."""
    acme.tenant.default_model = "sentiment"
    acme.tenant.save(update_fields=["default_model"])


def models_of(acme: Customer) -> list[str]:
    """What was charged for, by model."""
    return [record.body["model"] for record in ledger.records(acme.tenant)]


@pytest.mark.parametrize("version", ["v1", "v1.1", "v2"])
def test_it_is_the_model_that_answers_and_is_charged(acme: Customer, live_worker: LiveWorker, version: str) -> None:
    api, path = Api(acme), f"/{version}/predict"
    named = api.post(f"{path}?model=sentiment@2.0.0", GOOD)
    assert named.status == 200
    if version != "v1":
        assert named.body["model_version"] == "2.0.0"
    assert api.post(f"{path}?model=sentiment@2.0.0", {"model": "sentiment@2.0.0", **GOOD}).status == 200
    assert_problem(api.post(f"{path}?model=no-such", GOOD), ErrorKind.NOT_FOUND, "no-such")
    assert {record.body["model_version"] for record in ledger.records(acme.tenant)} == {"2.0.0"}


def test_a_vector_in_place_of_the_default(acme: Customer, live_worker: LiveWorker) -> None:
    answer = Api(acme).post("/v2/predict?model=minilm", GOOD)
    assert (answer.body["model"], len(answer.body["embedding"])) == ("minilm", 384)
    assert models_of(acme) == ["minilm"]


@pytest.mark.parametrize("version", ["v1", "v1.1", "v2"])
def test_two_that_disagree_are_refused(acme: Customer, live_worker: LiveWorker, version: str) -> None:
    api = Api(acme)
    both = api.post(f"/{version}/predict?model=minilm", {"model": "sentiment", **GOOD})
    assert_problem(both, ErrorKind.INVALID_INPUT, "'minilm'", field="model")
    if version == "v2":
        path = api.post("/v2/models/sentiment/predict?model=minilm", GOOD)
        assert_problem(path, ErrorKind.INVALID_INPUT, "'sentiment'", field="model")
        assert api.post("/v2/models/sentiment/predict?model=sentiment", GOOD).status == 200
    else:
        ledger.assert_untouched(acme)
        assert live_worker.batches == []


PATHS = ["/v1/predict", "/v2/predict", "/v2/models/sentiment/predict", "/v2/batch-predict"]


@pytest.mark.parametrize("path", PATHS)
def test_a_query_with_two_models_cannot_be_read(acme: Customer, live_worker: LiveWorker, path: str) -> None:
    body: Any = {"requests": [GOOD]} if path.endswith("batch-predict") else GOOD
    answer = Api(acme).post(f"{path}?model=minilm&model=sentiment", body)
    assert_problem(answer, ErrorKind.MALFORMED, "more than once", field="model")
    ledger.assert_untouched(acme)
    assert live_worker.batches == []


@pytest.mark.parametrize("query", ["model=", "model"])
@pytest.mark.parametrize("path", PATHS)
def test_a_query_without_a_value_names_no_model(acme: Customer, live_worker: LiveWorker, path: str, query: str) -> None:
    named = {"model": "sentiment", **GOOD}
    body: Any = {"requests": [named]} if path.endswith("batch-predict") else named
    assert Api(acme).post(f"{path}?{query}", body).status == 200


def test_of_a_batch_it_is_the_model_of_every_request(acme: Customer, live_worker: LiveWorker) -> None:
    requests = [GOOD, {"model": "minilm", **GOOD}, {"model": "sentiment", **GOOD}]
    answer: Answer = Api(acme).post("/v2/batch-predict?model=minilm", {"requests": requests})
    first, second, other = answer.body["responses"]
    assert first["model"] == second["model"] == "minilm"
    assert (other["status"], other["field"]) == (422, "requests[2].model")
    assert set(models_of(acme)) <= {"minilm", ""}, "the fee of a batch has no model"
