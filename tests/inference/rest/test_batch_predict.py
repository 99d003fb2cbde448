"""``POST /v2/batch-predict``: many inputs, one admission, each its result or its problem."""

import pytest

from billing.models import LimitKind, LimitRule
from inference.rest.prediction_declarations import DIGIT
from mlplatform.lib.errors import ErrorKind
from tenants import api_keys
from tenants.http import problems
from tests.conftest import Customer
from tests.support import ledger
from tests.support.live_worker import LiveWorker
from tests.support.rest import Answer, Api, assert_limit_headers, assert_problem
from tests.support.windows import AGES_S

pytestmark = pytest.mark.usefixtures("prices")

GOOD = {"model": "sentiment", "input": "What a wonderful morning!"}
FEE = 50


def batch(customer: Customer, *requests: object, **headers: str) -> Answer:
    return Api(customer).post("/v2/batch-predict", {"requests": list(requests)}, headers=headers)


def test_models_may_differ(acme: Customer, live_worker: LiveWorker) -> None:
    answer = batch(
        acme,
        GOOD,
        {"model": "digits", "input": DIGIT, "parameters": {"top_k": 1}},
        {"model": "minilm", "input": "A cat."},
    )
    assert answer.status == 200
    first, second, third = answer.body["responses"]
    assert first["predictions"][0]["label"] == "positive"
    assert [item["label"] for item in second["predictions"]] == ["0"]
    assert len(third["embedding"]) == 384
    assert answer.body["usage"] == {"units": FEE + 3}
    assert assert_limit_headers(answer)["included"]["r"] == 1_000_000 - FEE - 3


def test_each_input_and_the_fee_are_metered_once(acme: Customer, live_worker: LiveWorker) -> None:
    batch(acme, GOOD, {"model": "digits", "input": DIGIT})
    records = ledger.records(acme.tenant)
    assert sorted((record.body["model"], record.units) for record in records) == [
        ("", FEE),
        ("digits", 1),
        ("sentiment", 1),
    ]
    assert {record.body["operation"] for record in records} == {"batch"}
    assert ledger.holds(acme.tenant) == 0


def test_problems_stand_in_their_place_and_cost_nothing(acme: Customer, live_worker: LiveWorker) -> None:
    answer = batch(
        acme,
        {"model": "no-such", "input": "x"},
        GOOD,
        {"model": "sentiment", "input": ""},
        "not an object",
        {"model": "sentiment", "input": "I want my money back."},
        {"model": "sentiment", "input": "x", "typo": 1},
    )
    assert answer.status == 200
    kinds = [
        ErrorKind.NOT_FOUND,
        None,
        ErrorKind.INVALID_INPUT,
        ErrorKind.INVALID_INPUT,
        None,
        ErrorKind.INVALID_INPUT,
    ]
    fields = ["requests[0].model", None, "requests[2].input", "requests[3]", None, "requests[5].typo"]
    for response, kind, field in zip(answer.body["responses"], kinds, fields, strict=True):
        if kind is None:
            assert response["usage"] == {"units": 1}
        else:
            assert response["type"] == problems.type_of(kind)
            assert response["status"] == problems.TABLE[kind].status
            assert response["field"] == field
            assert response["request_id"] == answer.headers["X-Request-Id"]
    assert answer.body["usage"] == {"units": FEE + 2}
    assert ledger.units(acme.tenant) == FEE + 2


def test_a_batch_of_problems_alone_is_free(acme: Customer, live_worker: LiveWorker) -> None:
    answer = batch(acme, {"model": "no-such", "input": "x"}, {"input": "x"})
    assert answer.status == 200
    assert [response["status"] for response in answer.body["responses"]] == [404, 422]
    assert answer.body["usage"] == {"units": 0}
    assert_limit_headers(answer)
    ledger.assert_untouched(acme)


def test_equal_inputs_of_one_call_get_equal_answers(acme: Customer, live_worker: LiveWorker) -> None:
    answer = batch(acme, GOOD, GOOD, GOOD)
    assert len({str(response["predictions"]) for response in answer.body["responses"]}) == 1
    assert len({response["id"] for response in answer.body["responses"]}) == 3


def test_cached_inputs_cost_the_cached_price(acme: Customer, live_worker: LiveWorker) -> None:
    batch(acme, GOOD)
    answer = batch(acme, GOOD, {"model": "sentiment", "input": "Terrible."})
    assert [response["cached"] for response in answer.body["responses"]] == [True, False]
    assert answer.body["usage"] == {"units": FEE + 1}


def test_only_what_is_cached_is_answered_where_the_call_wants_no_more(acme: Customer, live_worker: LiveWorker) -> None:
    batch(acme, GOOD)
    answer = batch(acme, GOOD, {"model": "sentiment", "input": "Terrible."}, **{"cache-control": "only-if-cached"})
    good, missing = answer.body["responses"]
    assert good["cached"] is True
    assert (missing["status"], missing["field"]) == (504, "requests[1].input")
    assert live_worker.inputs == 1


def test_cache_control_holds_for_batches_too(acme: Customer, live_worker: LiveWorker) -> None:
    batch(acme, GOOD)
    answer = batch(acme, GOOD, **{"cache-control": "no-cache"})
    assert answer.body["responses"][0]["cached"] is False


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "requests"),
        ({"requests": []}, "requests"),
        ({"requests": {}}, "requests"),
        ({"requests": None}, "requests"),
        ({"requests": [GOOD] * 257}, "requests"),
        ({"requests": [GOOD], "model": "sentiment"}, "model"),
    ],
)
def test_a_batch_that_cannot_be_read(
    acme: Customer, live_worker: LiveWorker, body: dict[str, object], field: str
) -> None:
    answer = Api(acme).post("/v2/batch-predict", body)
    assert_problem(answer, ErrorKind.INVALID_INPUT, field=field)
    ledger.assert_untouched(acme)


def test_a_key_without_the_scope(acme: Customer, live_worker: LiveWorker) -> None:
    single = api_keys.issue(tenant=acme.tenant, name="Single", scopes=["predict"])
    answer = Api(secret=single.secret).post("/v2/batch-predict", {"requests": [GOOD]})
    assert_problem(answer, ErrorKind.FORBIDDEN, "'batch'")
    ledger.assert_untouched(acme)


def test_a_batch_beyond_a_limit_is_refused_as_a_whole(acme: Customer, live_worker: LiveWorker) -> None:
    LimitRule.objects.create(plan=acme.plan, name="hour", kind=LimitKind.FIXED_WINDOW, amount=100, window_s=AGES_S)
    requests = [{"model": "digits", "input": DIGIT}] * 10
    assert batch(acme, *requests, **{"cache-control": "no-store"}).status == 200
    answer = batch(acme, *requests, **{"cache-control": "no-store"})
    assert_problem(answer, ErrorKind.QUOTA_EXCEEDED, "'hour'", "40 left", "needs 60")
    assert assert_limit_headers(answer)["hour"]["r"] == 40
    assert ledger.units(acme.tenant) == FEE + 10
    assert ledger.holds(acme.tenant) == 0
    assert live_worker.inputs == 10


def test_v1_has_no_batches(acme: Customer, live_worker: LiveWorker) -> None:
    assert_problem(Api(acme).post("/v1/batch-predict", {"requests": [GOOD]}), ErrorKind.NOT_FOUND, "v2")
    ledger.assert_untouched(acme)
