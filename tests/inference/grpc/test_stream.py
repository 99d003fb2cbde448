"""``StreamPredict``: order, groups, back-pressure, problems of items, and ends that are not the client's."""

import math
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from billing.admission import on_loop
from billing.admission.on_loop import Admission
from billing.models import LimitKind, LimitRule
from inference.engine import predict as prediction
from inference.grpc import groups, streaming
from inference.grpc.generated import ml_inference_pb2 as pb
from mlplatform.lib.errors import unavailable
from tenants.guards import StaleCaller
from tests.conftest import Customer
from tests.inference.grpc.streams import Conversation, requests, texts, yes
from tests.support import ledger
from tests.support.grpc import Grpc, text_metadata
from tests.support.redis_server import RedisServer
from tests.support.tiny_model import TinyWorker, share_of
from tests.support.waiting import settle_down, until
from tests.support.windows import AGES_S


def test_answers_come_in_order_and_each_is_a_call_of_its_own(api: Grpc, acme: Customer) -> None:
    call = api.stream(requests(300))
    answers = list(call)
    assert [yes(answer) for answer in answers] == [round(share_of(text), 5) for text in texts(300)]
    assert len({answer.request_id for answer in answers}) == 300
    records = ledger.records(acme.tenant)
    assert len(records) == 300
    assert {(record.units, record.body["operation"], record.body["requests"]) for record in records} == {
        (1, "predict", 1)
    }
    assert {record.body["request_id"] for record in records} == {answer.request_id for answer in answers}
    assert ledger.holds(acme.tenant) == 0
    assert call.code() is grpc.StatusCode.OK
    assert '"included";r=999700' in text_metadata(call.trailing_metadata())["ratelimit"]
    assert '"included";r=1000000' in text_metadata(call.initial_metadata())["ratelimit"]


def test_what_arrives_while_others_are_computed_is_admitted_in_one_round_trip(
    api: Grpc, acme: Customer, tiny_worker: TinyWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    admitted: list[int] = []
    admit = on_loop.admit

    def counting(admission: Admission) -> None:
        admitted.append(len(admission.charges))
        admit(admission)

    api.predict(model_name="tiny", text="a first call, so that the counter of the month stands")
    monkeypatch.setattr(on_loop, "admit", counting)
    tiny_worker.go.clear()
    call = api.stream(requests(300))
    (stream,) = until(lambda: list(streaming.live), lambda live: bool(live) and live[0]._unanswered == 300)
    assert len(admitted) <= 3
    assert stream._unanswered == 300
    tiny_worker.go.set()
    assert [yes(answer) for answer in call] == [round(share_of(text), 5) for text in texts(300)]
    assert sum(admitted) == 300
    assert len(admitted) <= 3 + math.ceil(300 / streaming.GROUP)
    assert max(admitted) == streaming.GROUP


def test_a_slow_model_holds_the_client_back(
    api: Grpc, tiny_worker: TinyWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "MOST_UNANSWERED", 8)
    tiny_worker.go.clear()
    taken: list[int] = []

    def large() -> Iterator[pb.PredictRequest]:
        yield from requests(8)
        # What HTTP/2 itself buffers between the two is some megabytes.
        request = pb.PredictRequest(model_name="nobody", features_raw=b"\0" * 400_000)
        for index in range(300):
            taken.append(index)
            yield request

    call = api.stream(large())
    (stream,) = until(lambda: list(streaming.live), lambda live: bool(live) and live[0]._unanswered == 8)
    settle_down(1.0)
    assert stream._unanswered == 8
    assert len(taken) < 300
    tiny_worker.go.set()
    assert [answer.status.reason for answer in call] == [""] * 8 + ["NOT_FOUND"] * 300


def test_large_inputs_hold_the_client_back_by_their_bytes(
    api: Grpc, tiny_worker: TinyWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "MOST_BYTES", 50)
    tiny_worker.go.clear()
    call = api.stream(pb.PredictRequest(model_name="tiny", text=f"{index:020}") for index in range(20))
    (stream,) = until(lambda: list(streaming.live), lambda live: bool(live) and live[0]._unanswered == 3)
    settle_down(0.5)
    assert (stream._unanswered, stream._bytes) == (3, 60)
    tiny_worker.go.set()
    assert [answer.status.reason for answer in call] == [""] * 20
    assert stream._bytes == 0


def test_a_bad_item_has_its_own_status_and_the_stream_goes_on(api: Grpc, acme: Customer) -> None:
    sent: list[bytes] = [
        pb.PredictRequest(model_name="tiny", text="first").SerializeToString(),
        b"\xff\xff",
        pb.PredictRequest(model_name="grid", features=[math.nan] * 6).SerializeToString(),
        pb.PredictRequest(model_name="nobody", text="x", metadata={"row": "4"}).SerializeToString(),
        pb.PredictRequest(model_name="tiny").SerializeToString(),
        pb.PredictRequest(model_name="tiny", text="poison").SerializeToString(),
        pb.PredictRequest(model_name="tiny", text="last", id="mine").SerializeToString(),
    ]
    method: Any = api.channel.stream_stream
    stream = method("/ml_inference.InferenceService/StreamPredict", response_deserializer=pb.PredictResponse.FromString)
    answers = list(stream(iter(sent), metadata=api.auth, timeout=30))
    statuses = [(answer.status.code, answer.status.reason, answer.status.field) for answer in answers]
    assert statuses[:5] == [
        (0, "", ""),
        (3, "MALFORMED", ""),
        (3, "INVALID_INPUT", "features[0]"),
        (5, "NOT_FOUND", "model_name"),
        (3, "INVALID_INPUT", "features"),
    ]
    assert (answers[5].status.code, answers[5].status.reason) == (3, "UNPROCESSABLE")
    assert statuses[6] == (0, "", "")
    assert dict(answers[3].metadata) == {"row": "4"}
    assert answers[6].request_id == "mine"
    assert [answer.units for answer in answers] == [1, 0, 0, 0, 0, 0, 1]
    assert ledger.units(acme.tenant) == 2
    assert ledger.holds(acme.tenant) == 0


def test_a_limit_refuses_items_and_the_others_are_answered(api: Grpc, acme: Customer) -> None:
    LimitRule.objects.create(
        plan=acme.plan, name="few", kind=LimitKind.FIXED_WINDOW, counts="requests", amount=5, window_s=AGES_S
    )
    answers = list(api.stream(requests(8)))
    assert [answer.HasField("status") for answer in answers] == [False] * 5 + [True] * 3
    for answer in answers[5:]:
        assert (answer.status.code, answer.status.reason) == (8, "QUOTA_EXCEEDED")
        assert answer.status.details["violated_policies"] == "few"
        assert answer.status.retry_after_s > 0
    assert ledger.units(acme.tenant) == 5
    assert ledger.holds(acme.tenant) == 0


def test_a_limit_of_calls_at_the_same_time_slows_a_stream_down_and_refuses_nothing(
    api: Grpc, acme: Customer, tiny_worker: TinyWorker
) -> None:
    LimitRule.objects.create(plan=acme.plan, name="few", kind=LimitKind.CONCURRENCY, counts="requests", amount=10)
    tiny_worker.go.clear()
    both = [api.stream(requests(60)) for _ in range(2)]
    other = api.stream(pb.PredictRequest(model_name="tiny", text=f"another {index}") for index in range(60))
    until(lambda: ledger.holds(acme.tenant), lambda holds: holds == 10)
    tiny_worker.go.set()
    for call in (*both, other):
        assert [answer.status.reason for answer in call] == [""] * 60
    assert ledger.holds(acme.tenant) == 0


@pytest.mark.parametrize("problem", [StaleCaller(), unavailable("away"), RuntimeError("a mistake of ours")])
def test_a_second_try_that_fails_leaves_what_was_answered(
    api: Grpc, acme: Customer, tiny_worker: TinyWorker, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    """Of a group whose rest the limit of calls at the same time refused, the first half is answered and paid."""

    def fail(*_: Any, **__: Any) -> None:
        raise problem

    monkeypatch.setattr(groups, "share_of", lambda contract: 100)
    monkeypatch.setattr(streaming, "share_of", lambda contract: 100)
    monkeypatch.setattr(prediction, "predict_each", fail)
    LimitRule.objects.create(plan=acme.plan, name="few", kind=LimitKind.CONCURRENCY, counts="requests", amount=10)
    tiny_worker.go.clear()
    call = api.stream(requests(40))
    until(lambda: ledger.holds(acme.tenant), lambda holds: holds == 10)
    tiny_worker.go.set()
    reasons = [answer.status.reason for answer in call]
    assert reasons.count("") == ledger.units(acme.tenant) >= 10
    assert set(reasons) == {"", "INTERNAL" if isinstance(problem, RuntimeError) else "UNAVAILABLE"}


def test_a_redis_that_is_away_costs_items_their_answer_and_the_stream_goes_on(
    api: Grpc, acme: Customer, state_redis: RedisServer
) -> None:
    talk = Conversation(api)
    assert talk.ask("a").units == 1
    state_redis.stop()
    answer = talk.ask("b")
    assert (answer.status.code, answer.status.reason) == (14, "UNAVAILABLE")
    state_redis.start()
    assert not talk.ask("c").HasField("status")
    assert talk.end() == []


def test_limits_that_cannot_be_read_at_the_end_do_not_fail_a_stream(api: Grpc, state_redis: RedisServer) -> None:
    talk = Conversation(api)
    talk.send(pb.PredictRequest(model_name="nobody", text="x"))
    assert next(talk.call).status.reason == "NOT_FOUND"
    state_redis.stop()
    assert talk.end() == []
    assert talk.call.code() is grpc.StatusCode.OK
    trailers = text_metadata(talk.call.trailing_metadata())
    assert trailers["x-request-id"]
    assert "ratelimit" not in trailers
