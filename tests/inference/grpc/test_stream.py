"""``StreamPredict``: order, groups, back-pressure, problems of items, and ends that are not the client's."""

import math
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import grpc
import pytest

from billing import charging
from billing.models import LimitKind, LimitRule
from inference.engine import predict as prediction
from inference.grpc import groups, streaming
from inference.grpc.generated import ml_inference_pb2 as pb
from inference.models import ModelVersion
from mlplatform.grpc_server import GrpcServer
from mlplatform.lib.errors import unavailable
from tenants import api_keys
from tenants.guards import StaleCaller
from tenants.scopes import SCOPES
from tests.conftest import Customer
from tests.support import ledger
from tests.support.ending import make_schedule
from tests.support.grpc import Grpc, Problem, text_metadata
from tests.support.redis_server import RedisServer
from tests.support.tiny_model import TinyWorker, make_version, share_of
from tests.support.waiting import settle_down, until

Commit = Callable[..., AbstractContextManager[Any]]


def texts(number: int) -> list[str]:
    return ["x" * (index % 90 + 1) + str(index) for index in range(number)]


def requests(number: int) -> Iterator[pb.PredictRequest]:
    return (pb.PredictRequest(model_name="tiny", text=text, top_k=2) for text in texts(number))


def yes(answer: pb.PredictResponse) -> float:
    return round(next(item.score for item in answer.predictions if item.label == "yes"), 5)


class Conversation:
    """A stream whose requests the test sends one by one."""

    def __init__(self, api: Grpc, **options: Any) -> None:
        self._sent: queue.SimpleQueue[pb.PredictRequest | None] = queue.SimpleQueue()
        self.call = api.stream(iter(self._sent.get, None), **options)

    def send(self, *sent: pb.PredictRequest) -> None:
        for request in sent:
            self._sent.put(request)

    def ask(self, text: str) -> pb.PredictResponse:
        self.send(pb.PredictRequest(model_name="tiny", text=text))
        answer: pb.PredictResponse = next(self.call)
        return answer

    def end(self) -> list[pb.PredictResponse]:
        self._sent.put(None)
        return list(self.call)


def problem_of(call: Any) -> Problem:
    """The status with which a stream ends, after what it still answers."""
    with pytest.raises(grpc.RpcError) as error:
        for _ in call:
            pass
    return Problem(error.value)


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
    charge = charging.charge

    def counting(**arguments: Any) -> Any:
        admitted.append(len(arguments["charges"]))
        return charge(**arguments)

    monkeypatch.setattr(charging, "charge", counting)
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
        plan=acme.plan, name="few", kind=LimitKind.FIXED_WINDOW, counts="requests", amount=5, window_s=600
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


def test_a_key_that_is_revoked_ends_the_stream(
    api: Grpc, acme: Customer, django_capture_on_commit_callbacks: Commit
) -> None:
    talk = Conversation(api)
    assert talk.ask("a").units == 1
    with django_capture_on_commit_callbacks(execute=True):
        api_keys.revoke(key=acme.key)
    talk.send(pb.PredictRequest(model_name="tiny", text="b"))
    problem = problem_of(talk.call)
    assert problem.code is grpc.StatusCode.UNAUTHENTICATED
    assert problem.reason == "UNAUTHENTICATED"
    assert ledger.units(acme.tenant) == 1
    assert ledger.holds(acme.tenant) == 0


def test_a_key_that_gets_another_scope_is_read_anew(
    api: Grpc, acme: Customer, django_capture_on_commit_callbacks: Commit
) -> None:
    talk = Conversation(api)
    assert talk.ask("a").units == 1
    with django_capture_on_commit_callbacks(execute=True):
        acme.key.scopes = ["predict"]
        acme.key.save(update_fields=["scopes"])
        api_keys.changed(key=acme.key)
    assert talk.ask("b").units == 1
    with django_capture_on_commit_callbacks(execute=True):
        acme.key.scopes = ["batch"]
        acme.key.save(update_fields=["scopes"])
        api_keys.changed(key=acme.key)
    talk.send(pb.PredictRequest(model_name="tiny", text="c"))
    assert problem_of(talk.call).code is grpc.StatusCode.PERMISSION_DENIED
    assert ledger.units(acme.tenant) == 2


@pytest.mark.parametrize("secret", ["", "mlp_live_0123456789012345678901_000000"])
def test_without_a_good_key_nothing_is_read(grpc_target: str, acme: Customer, secret: str) -> None:
    with Grpc(grpc_target, secret=secret) as nobody:
        problem = problem_of(nobody.stream(requests(3)))
    assert problem.code is grpc.StatusCode.UNAUTHENTICATED
    assert problem.headers["x-request-id"]
    ledger.assert_untouched(acme)


def test_without_the_scope(grpc_target: str, acme: Customer, tiny: ModelVersion) -> None:
    issued = api_keys.issue(
        tenant=acme.tenant, name="Batches", scopes=[scope for scope in SCOPES if scope != "predict"]
    )
    with Grpc(grpc_target, secret=issued.secret) as api:
        assert problem_of(api.stream(requests(3))).code is grpc.StatusCode.PERMISSION_DENIED
    ledger.assert_untouched(acme)


def test_a_canceled_stream_gives_back_what_it_held(api: Grpc, acme: Customer, tiny_worker: TinyWorker) -> None:
    tiny_worker.go.clear()
    talk = Conversation(api)
    talk.send(*requests(20))
    until(lambda: list(streaming.live), lambda live: bool(live) and live[0]._unanswered == 20)
    until(lambda: ledger.holds(acme.tenant), lambda holds: holds > 0)
    talk.call.cancel()
    until(lambda: ledger.holds(acme.tenant), lambda holds: holds == 0)
    until(lambda: list(streaming.live), lambda live: not live)
    tiny_worker.go.set()
    assert ledger.records(acme.tenant) == []


def test_a_stream_ends_with_its_deadline(api: Grpc, acme: Customer, tiny_worker: TinyWorker) -> None:
    tiny_worker.go.clear()
    problem = problem_of(api.stream(requests(5), timeout=0.5))
    assert problem.code is grpc.StatusCode.DEADLINE_EXCEEDED
    until(lambda: ledger.holds(acme.tenant), lambda holds: holds == 0)
    tiny_worker.go.set()
    assert ledger.records(acme.tenant) == []


def test_a_stream_without_an_input_ends_well(api: Grpc, acme: Customer) -> None:
    call = api.stream(iter(()))
    assert list(call) == []
    assert call.code() is grpc.StatusCode.OK
    ledger.assert_untouched(acme)


def test_a_version_that_ends_is_told_with_its_items_and_at_the_end(api: Grpc) -> None:
    make_version(version="2.0.0", state="ready")
    make_schedule("model_version", "tiny@1.0.0", "tiny@2.0.0")
    call = api.stream(iter([pb.PredictRequest(model_name="tiny@1.0.0", text="x")]))
    (answer,) = list(call)
    assert answer.deprecation.successor == "tiny@2.0.0"
    assert text_metadata(call.trailing_metadata())["x-api-deprecated"] == "true"


def test_as_many_streams_as_threads_allow(globex: Customer, request: pytest.FixtureRequest, settings: Any) -> None:
    settings.GRPC_THREADS = 2
    api: Grpc = request.getfixturevalue("api")
    talk = Conversation(api)
    assert talk.ask("a").model_name == "tiny"
    with Grpc(request.getfixturevalue("grpc_target"), globex) as other:
        problem = problem_of(other.stream(iter(())))
        assert problem.code is grpc.StatusCode.UNAVAILABLE
        assert problem.reason == "OVERLOADED"
        assert "As many streams are open" in problem.message
        # Other calls have threads left.
        assert other.predict(model_name="tiny", text="b").message.units == 1
        assert talk.end() == []
        until(lambda: _refused(other), lambda refused: not refused)


def test_a_tenant_leaves_streams_to_others(globex: Customer, request: pytest.FixtureRequest, settings: Any) -> None:
    settings.GRPC_THREADS = 16
    api: Grpc = request.getfixturevalue("api")
    talks = [Conversation(api) for _ in range(2)]
    for talk in talks:
        assert talk.ask("a").model_name == "tiny"
    problem = problem_of(api.stream(iter(())))
    assert (problem.code, problem.reason) == (grpc.StatusCode.UNAVAILABLE, "OVERLOADED")
    assert "Your tenant has 2 streams open" in problem.message
    with Grpc(request.getfixturevalue("grpc_target"), globex) as other:
        assert not _refused(other)
    for talk in talks:
        assert talk.end() == []
    until(lambda: _refused(api), lambda refused: not refused)


def _refused(api: Grpc) -> bool:
    try:
        list(api.stream(iter(())))
    except grpc.RpcError:
        return True
    return False


def test_a_server_that_stops_answers_what_it_has_read(
    api: Grpc, acme: Customer, grpc_server: GrpcServer, tiny_worker: TinyWorker
) -> None:
    tiny_worker.go.clear()
    talk = Conversation(api)
    talk.send(*requests(20))
    until(lambda: list(streaming.live), lambda live: bool(live) and live[0]._unanswered == 20)
    stopped = grpc_server.drain(30)
    threading.Timer(0.2, tiny_worker.go.set).start()
    answers: list[pb.PredictResponse] = []
    with pytest.raises(grpc.RpcError) as error:
        answers += talk.call  # what came before the error is kept
    assert Problem(error.value).code is grpc.StatusCode.UNAVAILABLE
    assert [yes(answer) for answer in answers] == [round(share_of(text), 5) for text in texts(20)]
    assert stopped.wait(10)
    assert ledger.units(acme.tenant) == 20
