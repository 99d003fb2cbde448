"""``POST …/predict``: what each API version answers, by which model, and what is charged for it."""

import datetime as dt
import math

import pytest

from inference.models import ModelVersion
from inference.rest.prediction_declarations import DIGIT
from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind
from tenants import api_keys
from tests.conftest import Customer
from tests.support import ledger
from tests.support.live_worker import LiveWorker
from tests.support.rest import Api, assert_limit_headers, assert_problem, predict

SENTENCE = {"model": "sentiment", "input": "What a wonderful morning!"}

pytestmark = pytest.mark.usefixtures("prices")


def test_v1_answers_with_the_best_label(acme: Customer, live_worker: LiveWorker) -> None:
    answer = Api(acme).post("/v1/predict", SENTENCE)
    assert answer.status == 200
    assert set(answer.body) == {"prediction", "confidence"}
    assert answer.body["prediction"] == "positive"
    assert 0.5 < answer.body["confidence"] <= 1
    assert answer.headers["API-Version"] == "v1"
    assert_limit_headers(answer)


def test_v1_1_adds_the_model_version_and_the_time(acme: Customer, live_worker: LiveWorker) -> None:
    answer = Api(acme).post("/v1.1/predict", SENTENCE)
    assert answer.status == 200
    assert set(answer.body) == {"prediction", "confidence", "model_version", "latency_ms"}
    assert answer.body["model_version"] == "1.0.0"
    assert answer.body["latency_ms"] > 0
    assert answer.headers["API-Version"] == "v1.1"


def test_v2_answers_with_every_label(acme: Customer, live_worker: LiveWorker) -> None:
    answer = predict(Api(acme))
    assert answer.status == 200
    assert list(answer.body) == ["id", "model", "model_version", "predictions", "usage", "cached", "latency_ms"]
    assert (answer.body["model"], answer.body["model_version"]) == ("sentiment", "1.0.0")
    labels = answer.body["predictions"]
    assert [item["label"] for item in labels] == ["positive", "negative"]
    assert labels[0]["score"] > labels[1]["score"]
    assert math.isclose(sum(item["score"] for item in labels), 1, abs_tol=1e-4)
    assert answer.body["usage"] == {"units": 1}
    assert answer.body["cached"] is False
    assert answer.headers["API-Version"] == "v2"
    assert answer.headers["X-Cache"] == "MISS"
    assert "Age" not in answer.headers


def test_the_answer_is_the_usage_record(acme: Customer, live_worker: LiveWorker) -> None:
    answer = Api(acme).post("/v2/predict", SENTENCE, headers={"user-agent": "a test", "x-request-id": "order-17"})
    (record,) = ledger.records(acme.tenant)
    assert record.units == 1
    assert (
        record.body.items()
        >= {
            "tenant_id": acme.tenant.pk,
            "key_id": acme.key.uid,
            "request_id": "order-17",
            "operation": "predict",
            "model": "sentiment",
            "model_version": "1.0.0",
            "api_version": "v2",
            "inputs": 1,
            "cached": False,
            "client": "a test",
        }.items()
    )
    assert assert_limit_headers(answer)["included"]["r"] == 999_999


def test_top_k_limits_the_labels(acme: Customer, live_worker: LiveWorker) -> None:
    answer = predict(Api(acme), parameters={"top_k": 1})
    assert [item["label"] for item in answer.body["predictions"]] == ["positive"]


def test_an_image_is_classified(acme: Customer, live_worker: LiveWorker) -> None:
    answer = Api(acme).post("/v2/predict", {"model": "digits", "input": DIGIT, "parameters": {"top_k": 3}})
    assert answer.status == 200
    assert answer.body["predictions"][0]["label"] == "0"
    assert len(answer.body["predictions"]) == 3


def test_an_embedding_model_answers_with_a_vector(acme: Customer, live_worker: LiveWorker) -> None:
    answer = Api(acme).post("/v2/predict", {"model": "minilm", "input": "A cat sits on the mat."})
    assert "predictions" not in answer.body
    assert len(answer.body["embedding"]) == 384
    assert math.isclose(sum(x * x for x in answer.body["embedding"]), 1, rel_tol=1e-4)


@pytest.mark.parametrize("api_version", ["v1", "v1.1"])
def test_v1_cannot_say_an_embedding(acme: Customer, live_worker: LiveWorker, api_version: str) -> None:
    answer = Api(acme).post(f"/{api_version}/predict", {"model": "minilm", "input": "A cat."})
    assert_problem(answer, ErrorKind.INVALID_INPUT, "embedding", "v2", field="model")
    ledger.assert_untouched(acme)


def test_a_version_can_be_named(acme: Customer, live_worker: LiveWorker) -> None:
    assert ModelVersion.objects.get(model__name="sentiment", version="2.0.0").state == "ready"
    for version in ("1.0.0", "2.0.0"):
        answer = predict(Api(acme), model=f"sentiment@{version}")
        assert (answer.status, answer.body["model_version"]) == (200, version)


def test_the_address_can_name_the_model(acme: Customer, live_worker: LiveWorker) -> None:
    api = Api(acme)
    text = {"input": "What a wonderful morning!"}
    assert api.post("/v2/models/sentiment/predict", text).body["model_version"] == "1.0.0"
    assert api.post("/v2/models/sentiment@2.0.0/predict", text).body["model_version"] == "2.0.0"
    assert api.post("/v2/models/sentiment/predict", text | {"model": "sentiment"}).status == 200


def test_address_and_body_must_not_name_different_models(acme: Customer, live_worker: LiveWorker) -> None:
    answer = Api(acme).post("/v2/models/sentiment/predict", {"model": "minilm", "input": "x"})
    assert_problem(answer, ErrorKind.INVALID_INPUT, "sentiment", field="model")
    ledger.assert_untouched(acme)


def test_the_address_names_a_model_only_in_v2(acme: Customer, live_worker: LiveWorker) -> None:
    answer = Api(acme).post("/v1/models/sentiment/predict", {"input": "x"})
    assert_problem(answer, ErrorKind.NOT_FOUND, "v1", "v2")
    ledger.assert_untouched(acme)


def test_the_tenants_default_model_answers(acme: Customer, live_worker: LiveWorker) -> None:
    acme.tenant.default_model = "sentiment"
    acme.tenant.save()
    api = Api(acme)
    assert api.post("/v2/predict", {"input": "Good."}).body["model"] == "sentiment"
    assert api.post("/v1/predict", {"input": "Good."}).status == 200


def test_without_a_default_model_one_must_be_named(acme: Customer, live_worker: LiveWorker) -> None:
    answer = Api(acme).post("/v2/predict", {"input": "Good."})
    assert_problem(answer, ErrorKind.INVALID_INPUT, "default model", field="model")
    ledger.assert_untouched(acme)


@pytest.mark.parametrize(
    "model", ["no-such", "sentiment@9.9.9", "sentiment@", "@1.0.0", "Sentiment", "sentiment@1.0.0@1"]
)
def test_a_model_that_does_not_exist(acme: Customer, live_worker: LiveWorker, model: str) -> None:
    answer = predict(Api(acme), model=model)
    assert_problem(answer, ErrorKind.NOT_FOUND, repr(model), field="model")
    ledger.assert_untouched(acme)


def test_a_model_outside_the_keys_allow_list_does_not_exist(acme: Customer, live_worker: LiveWorker) -> None:
    narrow = api_keys.issue(tenant=acme.tenant, name="Narrow", allowed_models=["digits"])
    api = Api(secret=narrow.secret)
    hidden, missing = predict(api, model="sentiment"), predict(api, model="no-such")
    assert_problem(hidden, ErrorKind.NOT_FOUND, field="model")
    assert hidden.body["detail"].replace("sentiment", "no-such") == missing.body["detail"]
    assert api.post("/v2/predict", {"model": "digits", "input": DIGIT}).status == 200
    assert [record.body["model"] for record in ledger.records(acme.tenant)] == ["digits"]


def test_a_key_without_the_scope_is_told_which(acme: Customer, live_worker: LiveWorker) -> None:
    reader = api_keys.issue(tenant=acme.tenant, name="Reader", scopes=["usage:read"])
    answer = predict(Api(secret=reader.secret))
    assert_problem(answer, ErrorKind.FORBIDDEN, "'predict'")
    assert answer.body["required_scope"] == "predict"
    assert_limit_headers(answer)
    ledger.assert_untouched(acme)


def test_the_second_equal_call_is_answered_from_the_cache(acme: Customer, live_worker: LiveWorker) -> None:
    api = Api(acme)
    first, second = predict(api), predict(api)
    assert second.headers["X-Cache"] == "HIT"
    assert int(second.headers["Age"]) >= 0
    assert second.body["cached"] is True
    assert second.body["usage"] == {"units": 0}
    assert second.body["predictions"] == first.body["predictions"]
    assert second.body["id"] != first.body["id"]
    assert live_worker.inputs == 1
    assert [record.body["cached"] for record in ledger.records(acme.tenant)] == [False, True]


def test_tenants_share_no_cached_answer(acme: Customer, globex: Customer, live_worker: LiveWorker) -> None:
    assert predict(Api(acme)).headers["X-Cache"] == "MISS"
    assert predict(Api(globex)).headers["X-Cache"] == "MISS"
    assert live_worker.inputs == 2


def test_no_cache_computes_anew_and_keeps_the_answer(acme: Customer, live_worker: LiveWorker) -> None:
    api = Api(acme)
    body = SENTENCE
    for _ in range(2):
        answer = api.post("/v2/predict", body, headers={"cache-control": "max-age=0, No-Cache"})
        assert answer.headers["X-Cache"] == "MISS"
    assert live_worker.inputs == 2
    assert api.post("/v2/predict", body).headers["X-Cache"] == "HIT"


def test_an_answer_that_is_too_old_for_the_call_is_computed_anew(
    acme: Customer, live_worker: LiveWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Api(acme)
    predict(api)
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now + dt.timedelta(seconds=20))
    young = api.post("/v2/predict", SENTENCE, headers={"cache-control": "max-age=30"})
    assert (young.headers["X-Cache"], int(young.headers["Age"]) >= 19) == ("HIT", True)
    assert api.post("/v2/predict", SENTENCE, headers={"cache-control": "max-age=10"}).headers["X-Cache"] == "MISS"


def test_only_if_cached_computes_nothing(acme: Customer, live_worker: LiveWorker) -> None:
    api = Api(acme)
    only = {"cache-control": "only-if-cached"}
    answer = api.post("/v2/predict", SENTENCE, headers=only)
    assert_problem(answer, ErrorKind.NOT_CACHED, "only-if-cached", field="input")
    assert answer.status == 504
    ledger.assert_untouched(acme)
    predict(api)
    assert api.post("/v2/predict", SENTENCE, headers=only).headers["X-Cache"] == "HIT"
    assert live_worker.inputs == 1


def test_no_store_keeps_nothing(acme: Customer, live_worker: LiveWorker) -> None:
    api = Api(acme)
    assert api.post("/v2/predict", SENTENCE, headers={"cache-control": "no-store"}).headers["X-Cache"] == "MISS"
    assert predict(api).headers["X-Cache"] == "MISS"
    assert api.post("/v2/predict", SENTENCE, headers={"cache-control": "no-store"}).headers["X-Cache"] == "MISS"
    assert live_worker.inputs == 3


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("x" * 10_001, "10,001"),
        (17, "a number"),
        (True, "true or false"),
        (None, "missing"),
        (["x"], "a list"),
        ({"text": "x"}, "an object"),
    ],
)
def test_a_text_model_takes_text(acme: Customer, live_worker: LiveWorker, value: object, words: str) -> None:
    answer = Api(acme).post("/v2/predict", {"model": "sentiment", "input": value})
    assert_problem(answer, ErrorKind.INVALID_INPUT, words, field="input")
    ledger.assert_untouched(acme)


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        (lambda image: image[:7], "input", "shape [8, 8]"),
        (lambda image: [*image[:7], image[7][:7]], "input[7]", "shape [8, 8]"),
        (lambda image: [*image[:7], 3], "input[7]", "a list is missing"),
        (lambda image: [[*image[0][:7], True], *image[1:]], "input[0][7]", "true or false"),
        (lambda image: [[*image[0][:7], "1"], *image[1:]], "input[0][7]", "text"),
        (lambda image: [[*image[0][:7], None], *image[1:]], "input[0][7]", "null"),
        (lambda image: [[*image[0][:7], [1]], *image[1:]], "input[0][7]", "a list"),
        (lambda image: [[*image[0][:7], 17], *image[1:]], "input[0][7]", "between 0 and 16"),
        (lambda image: [[*image[0][:7], -0.5], *image[1:]], "input[0][7]", "between 0 and 16"),
        (lambda image: [[*image[0][:7], 10**400], *image[1:]], "input[0][7]", "between 0 and 16"),
        (lambda image: "00", "input", "a list is missing"),
    ],
)
def test_a_tensor_model_takes_its_shape(
    acme: Customer, live_worker: LiveWorker, change: object, field: str, words: str
) -> None:
    answer = Api(acme).post("/v2/predict", {"model": "digits", "input": change(DIGIT)})  # type: ignore[operator]
    assert_problem(answer, ErrorKind.INVALID_INPUT, words, field=field)
    ledger.assert_untouched(acme)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"model": "sentiment"}, "input"),
        ({"model": 5, "input": "x"}, "model"),
        ({"model": None, "input": "x"}, "model"),
        ({"model": "m" * 131, "input": "x"}, "model"),
        ({"model": "sentiment", "input": "x", "inputs": "y"}, "inputs"),
        ({"model": "sentiment", "input": "x", "parameters": []}, "parameters"),
        ({"model": "sentiment", "input": "x", "parameters": {"topk": 1}}, "parameters.topk"),
        ({"model": "sentiment", "input": "x", "parameters": {"top_k": 0}}, "parameters.top_k"),
        ({"model": "sentiment", "input": "x", "parameters": {"top_k": 1001}}, "parameters.top_k"),
        ({"model": "sentiment", "input": "x", "parameters": {"top_k": True}}, "parameters.top_k"),
        ({"model": "sentiment", "input": "x", "parameters": {"top_k": 1.0}}, "parameters.top_k"),
        ({"model": "sentiment", "input": "x", "parameters": {"top_k": "1"}}, "parameters.top_k"),
        ({"model": "minilm", "input": "x", "parameters": {"top_k": 1}}, "parameters.top_k"),
    ],
)
def test_a_wrong_field_is_named(acme: Customer, live_worker: LiveWorker, body: dict[str, object], field: str) -> None:
    answer = Api(acme).post("/v2/predict", body)
    assert_problem(answer, ErrorKind.INVALID_INPUT, field=field)
    assert_limit_headers(answer)
    assert answer.headers["API-Version"] == "v2"
    ledger.assert_untouched(acme)


def test_v1_has_no_parameters(acme: Customer, live_worker: LiveWorker) -> None:
    answer = Api(acme).post("/v1/predict", SENTENCE | {"parameters": {"top_k": 1}})
    assert_problem(answer, ErrorKind.INVALID_INPUT, "'parameters'", field="parameters")
    ledger.assert_untouched(acme)
