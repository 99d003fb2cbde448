"""What is counted of gRPC calls, and named on their log lines."""

import logging

import grpc
import pytest
from prometheus_client import REGISTRY

from inference.grpc import door, exchange
from inference.grpc.generated import ml_inference_pb2 as pb
from mlplatform.lib import tally, tracing
from mlplatform.observability import traffic
from tests.conftest import Customer
from tests.support import ledger
from tests.support.grpc import Grpc, Problem
from tests.support.tiny_model import TinyWorker
from tests.support.waiting import until

PREDICT = "/ml_inference.InferenceService/Predict"
STREAM = "/ml_inference.InferenceService/StreamPredict"


def counted(method: str, code: str) -> float:
    tally.flush()
    return REGISTRY.get_sample_value("mlplatform_grpc_answers_total", {"method": method, "code": code}) or 0.0


def items(code: str) -> float:
    return REGISTRY.get_sample_value("mlplatform_grpc_stream_items_total", {"code": code}) or 0.0


def test_calls_are_counted_by_method_and_code(api: Grpc) -> None:
    before = counted(PREDICT, "OK"), counted(PREDICT, "NOT_FOUND"), counted(STREAM, "OK")
    items_before = items("OK"), items("NOT_FOUND")
    api.predict(model_name="tiny", text="x")
    with pytest.raises(Problem):
        api.predict(model_name="nobody", text="x")
    assert len(list(api.stream(pb.PredictRequest(model_name=name, text="x") for name in ("tiny", "nobody")))) == 2
    # A call is counted when it has ended, which its client learns a moment before.
    until(
        lambda: (counted(PREDICT, "OK"), counted(PREDICT, "NOT_FOUND"), counted(STREAM, "OK")),
        lambda now: now == tuple(number + 1 for number in before),
    )
    assert (items("OK"), items("NOT_FOUND")) == tuple(number + 1 for number in items_before)
    assert (REGISTRY.get_sample_value("mlplatform_grpc_seconds_count", {"method": PREDICT}) or 0) >= 2
    traffic.gather()
    assert traffic.today().total.refused >= 1


def test_a_call_that_its_caller_took_back_is_no_failure_of_ours(
    api: Grpc, acme: Customer, tiny_worker: TinyWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A request can be late at the server, and its deadline there with it.
    monkeypatch.setattr(exchange, "CLOSE_S", 0.25)
    before = counted(PREDICT, "CANCELLED"), counted(PREDICT, "DEADLINE_EXCEEDED")
    tiny_worker.go.clear()
    future = api.stub.Predict.future(pb.PredictRequest(model_name="tiny", text="x"), metadata=api.auth, timeout=30)
    until(lambda: ledger.holds(acme.tenant), lambda holds: holds == 1)
    future.cancel()
    until(lambda: counted(PREDICT, "CANCELLED"), lambda now: now == before[0] + 1)
    with pytest.raises(Problem):
        api.predict(model_name="tiny", text="y", timeout=0.3)
    until(lambda: counted(PREDICT, "DEADLINE_EXCEEDED"), lambda now: now == before[1] + 1)
    assert counted(PREDICT, "CANCELLED") == before[0] + 1
    tiny_worker.go.set()


def test_log_lines_name_the_call(api: Grpc, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("it broke")

    monkeypatch.setattr("inference.engine.predict.predict_each", broken)
    caplog.handler.addFilter(tracing.RequestIdFilter())
    with caplog.at_level(logging.ERROR), pytest.raises(Problem):
        api.predict(model_name="tiny", text="x", headers=[("x-request-id", "find-me")])
    assert [record.__dict__["request_id"] for record in caplog.records if record.exc_info] == ["find-me"]


def test_a_bug_before_any_handler_is_told_and_counted_as_ours(api: Grpc, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("a bug")

    before = counted(PREDICT, "INTERNAL"), counted(PREDICT, "OK")
    monkeypatch.setattr(door, "plan_of", broken)
    with pytest.raises(Problem) as problem:
        api.predict(model_name="tiny", text="x")
    assert problem.value.code is grpc.StatusCode.INTERNAL
    assert "bug" not in problem.value.message
    until(lambda: counted(PREDICT, "INTERNAL"), lambda now: now == before[0] + 1)
    assert counted(PREDICT, "OK") == before[1]
