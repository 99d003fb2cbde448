"""Ends of a stream: keys, deadlines, clients that go, servers that stop, and as many streams as there are permits."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import grpc
import pytest

from inference.grpc import door, messages, streaming
from inference.grpc.generated import ml_inference_pb2 as pb
from inference.grpc.groups import Group, Item
from inference.models import ModelVersion
from mlplatform.grpc_server import GrpcServer
from mlplatform.lib import event_loop
from tenants import api_keys
from tenants.scopes import SCOPES
from tests.conftest import Customer
from tests.inference.grpc.streams import Conversation, problem_of, requests, texts, yes
from tests.support import ledger
from tests.support.ending import make_schedule
from tests.support.grpc import Grpc, Problem, text_metadata
from tests.support.tiny_model import TinyWorker, make_version, share_of
from tests.support.waiting import until

Commit = Callable[..., AbstractContextManager[Any]]


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
    with Grpc(grpc_target, secret=secret) as stranger:
        problem = problem_of(stranger.stream(requests(3)))
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


def test_a_canceled_stream_gives_back_what_threads_held_for_it(
    api: Grpc, acme: Customer, tiny_worker: TinyWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "plan_of", lambda _: None)
    monkeypatch.setattr(streaming, "GROUP", 4)
    tiny_worker.go.clear()
    talk = Conversation(api)
    talk.send(*requests(12))
    until(lambda: ledger.holds(acme.tenant), lambda holds: holds > 4)
    talk.call.cancel()
    until(lambda: ledger.holds(acme.tenant), lambda holds: holds == 0, within_s=20)
    tiny_worker.go.set()
    assert ledger.records(acme.tenant) == []


@pytest.mark.parametrize("end", ["of its client", "of its server", "of its inputs"])
def test_nothing_of_a_stream_stays_behind(api: Grpc, grpc_server: GrpcServer, end: str) -> None:
    def tasks() -> list[str]:
        coroutines = [task.get_coro() for task in asyncio.all_tasks(event_loop.get())]
        return [name for one in coroutines if (name := getattr(one, "__qualname__", "")).startswith("Stream.")]

    talk = Conversation(api)
    talk.ask("x")
    assert len(event_loop.call(tasks)) == 2
    if end == "of its client":
        talk.call.cancel()
    elif end == "of its server":
        event_loop.call(streaming.drain)
        assert problem_of(talk.call).code is grpc.StatusCode.UNAVAILABLE
    else:
        assert talk.end() == []
    until(lambda: event_loop.call(tasks), lambda left: not left)


@pytest.mark.parametrize("on_loop", [True, False])
def test_what_a_thread_has_finished_it_writes_too(api: Grpc, monkeypatch: pytest.MonkeyPatch, on_loop: bool) -> None:
    written: list[bool] = []
    response = messages.response

    def noted(*arguments: Any, **options: Any) -> pb.PredictResponse:
        written.append(event_loop.is_current())
        return response(*arguments, **options)

    api.predict(model_name="tiny", text="so that the loop knows the caller")
    if not on_loop:
        monkeypatch.setattr(door, "plan_of", lambda _: None)
    monkeypatch.setattr(messages, "response", noted)
    assert len(list(api.stream(requests(3)))) == 3
    assert written == [on_loop] * 3


def test_a_thread_reads_inputs_that_are_large_together() -> None:
    inputs: list[Item] = [pb.PredictRequest(text="x" * 10_000) for _ in range(7)]
    assert Group(inputs).is_large
    assert not Group(inputs[:3]).is_large


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
