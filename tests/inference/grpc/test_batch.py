"""``BatchPredict``: one admission, an answer or a problem for each input, the fee once."""

import math
from typing import Any

import grpc
import pytest

from billing.models import LimitKind, LimitRule
from inference.grpc.generated import ml_inference_pb2 as pb
from mlplatform.lib.errors import ErrorKind
from tests.conftest import Customer
from tests.support import ledger
from tests.support.ending import make_schedule
from tests.support.grpc import Grpc, Problem, assert_problem
from tests.support.tiny_model import make_version
from tests.support.windows import AGES_S

REQUESTS = [
    pb.PredictRequest(text="a", id="first"),
    pb.PredictRequest(model_name="grid", features=[1.0] * 6),
    pb.PredictRequest(model_name="grid", features=[math.inf] * 6),
    pb.PredictRequest(model_name="nobody", text="x"),
    pb.PredictRequest(model_name="tiny", metadata={"row": "5"}),
]


def refused(api: Grpc, requests: Any) -> Problem:
    with pytest.raises(Problem) as problem:
        api.batch(requests)
    return problem.value


def test_each_gets_its_answer_or_its_problem(api: Grpc, acme: Customer) -> None:
    answered = api.batch(REQUESTS, model_name="tiny", headers=[("x-request-id", "the-batch")])
    responses = answered.message.responses
    assert [response.model_name for response in responses] == ["tiny", "grid", "", "", ""]
    assert [(response.status.reason, response.status.field) for response in responses] == [
        ("", ""),
        ("", ""),
        ("INVALID_INPUT", "requests[2].features[0]"),
        ("NOT_FOUND", "requests[3].model_name"),
        ("INVALID_INPUT", "requests[4].features"),
    ]
    assert responses[0].request_id == "first"
    assert dict(responses[4].metadata) == {"row": "5"}
    assert answered.message.request_id == answered.headers["x-request-id"] == "the-batch"
    # Two models, of which each costs the fee of a call, and two inputs.
    assert answered.message.units == ledger.units(acme.tenant)
    assert [response.units for response in responses] == [1, 1, 0, 0, 0]
    assert {record.body["operation"] for record in ledger.records(acme.tenant)} == {"batch"}
    assert ledger.holds(acme.tenant) == 0
    assert "ratelimit" in answered.headers


def test_a_batch_of_bad_inputs_alone_costs_nothing(api: Grpc, acme: Customer) -> None:
    answered = api.batch(REQUESTS[2:])
    assert answered.message.units == 0
    assert all(response.HasField("status") for response in answered.message.responses)
    ledger.assert_untouched(acme)


@pytest.mark.parametrize("number", [0, 257])
def test_as_many_requests_as_allowed(api: Grpc, acme: Customer, number: int) -> None:
    problem = refused(api, [pb.PredictRequest(model_name="tiny", text="x")] * number)
    assert_problem(problem, ErrorKind.INVALID_INPUT, grpc.StatusCode.INVALID_ARGUMENT, field="requests")
    ledger.assert_untouched(acme)


def test_it_is_admitted_as_a_whole_or_not_at_all(api: Grpc, acme: Customer) -> None:
    LimitRule.objects.create(plan=acme.plan, name="few", kind=LimitKind.FIXED_WINDOW, amount=53, window_s=AGES_S)
    texts = [pb.PredictRequest(model_name="tiny", text=str(index)) for index in range(3)]
    assert api.batch(texts).message.units == 53
    problem = refused(api, texts[:1])
    assert_problem(problem, ErrorKind.QUOTA_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED, "'few'")
    assert ledger.units(acme.tenant) == 53


def test_a_version_that_ends_is_told_though_its_input_is_bad(api: Grpc) -> None:
    make_version(version="2.0.0", state="ready")
    make_schedule("model_version", "tiny@1.0.0", "tiny@2.0.0")
    answered = api.batch([pb.PredictRequest(model_name="tiny@1.0.0", text="")])
    assert answered.headers["x-api-deprecated"] == "true"
