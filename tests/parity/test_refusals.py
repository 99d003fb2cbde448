"""The same bad call through each face: the same kind of problem, nothing computed, nothing charged, never a 5xx of ours."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from pytest_django import Settings

from billing.models import LimitKind, LimitRule
from inference.batching.current import batcher
from inference.batching.work import Hold, WorkItem
from inference.engine import works
from inference.engine.permits import permits
from inference.registry import versions
from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind
from tenants import api_keys, tenancy
from tests.conftest import Customer
from tests.parity import faces
from tests.parity.conftest import WITHOUT_BATCHES
from tests.parity.faces import Ask, Face, Said
from tests.support import ledger
from tests.support.ending import make_schedule
from tests.support.redis_server import RedisServer
from tests.support.tiny_model import POISON, TinyWorker, make_version
from tests.support.windows import AGES_S, left_s

pytestmark = pytest.mark.usefixtures("prices", "published_at_once")

_GRID = {"kind": "tensor", "dtype": "float32", "shape": [2, 2], "minimum": 0, "maximum": 16}


@pytest.fixture(autouse=True)
def models(tiny_worker: TinyWorker) -> TinyWorker:
    """``tiny`` and ``large`` take text, ``grid`` four numbers from 0 to 16."""
    for version in (make_version("tiny"), make_version("tiny", "0.9.0", "ready"), make_version("large")):
        tiny_worker.serve(version)
    tiny_worker.serve(make_version("grid", runtime="tensor-classification", input_schema=_GRID))
    return tiny_worker


def _key(customer: Customer, **fields: Any) -> str:
    return api_keys.issue(tenant=customer.tenant, name="Other", **fields).secret


def _revoked(customer: Customer) -> str:
    issued = api_keys.issue(tenant=customer.tenant, name="Revoked")
    api_keys.revoke(key=issued.key)
    return issued.secret


@dataclass(frozen=True)
class Bad:
    """A call that must be refused as ``kind`` by every face but those of ``without``, where it cannot be said."""

    kind: ErrorKind
    model: str = "tiny"
    row: Any = "hello"
    secret: Callable[[Customer], str] = lambda customer: customer.secret
    without: tuple[str, ...] = ()
    also: tuple[ErrorKind, ...] = ()


_BAD = {
    "no key": Bad(ErrorKind.UNAUTHENTICATED, secret=lambda _: ""),
    "a mistyped key": Bad(ErrorKind.UNAUTHENTICATED, secret=lambda _: "mlp_live_0123456789012345678901_000000"),
    "a revoked key": Bad(ErrorKind.UNAUTHENTICATED, secret=_revoked),
    "a key without the scope": Bad(ErrorKind.FORBIDDEN, secret=lambda acme: _key(acme, scopes=["usage:read"])),
    "a key from elsewhere": Bad(ErrorKind.FORBIDDEN, secret=lambda acme: _key(acme, allowed_cidrs=["192.0.2.0/24"])),
    "an unknown model": Bad(ErrorKind.NOT_FOUND, model="nothing"),
    "an unknown version": Bad(ErrorKind.NOT_FOUND, model="tiny@9.9.9"),
    "a model outside the allow-list": Bad(
        ErrorKind.NOT_FOUND, secret=lambda acme: _key(acme, allowed_models=["large"])
    ),
    "an odd name": Bad(ErrorKind.NOT_FOUND, model="Tiny'--", also=(ErrorKind.INVALID_INPUT,)),
    "an empty text": Bad(ErrorKind.INVALID_INPUT, row=""),
    "a blank text": Bad(ErrorKind.INVALID_INPUT, row=" \n"),
    "a long text": Bad(ErrorKind.INVALID_INPUT, row="x" * 101),
    "a NUL": Bad(ErrorKind.INVALID_INPUT, row="a\x00b", also=(ErrorKind.MALFORMED,)),
    "numbers for a text model": Bad(ErrorKind.INVALID_INPUT, row=[[1.0, 2.0], [3.0, 4.0]]),
    "text for numbers": Bad(ErrorKind.INVALID_INPUT, model="grid"),
    "too few numbers": Bad(ErrorKind.INVALID_INPUT, model="grid", row=[[1.0, 2.0]]),
    "a number out of range": Bad(ErrorKind.INVALID_INPUT, model="grid", row=[[1.0, 2.0], [3.0, 16.5]]),
    "an infinite number": Bad(
        ErrorKind.INVALID_INPUT, model="grid", row=[[1.0, 2.0], [3.0, math.inf]], also=(ErrorKind.MALFORMED,)
    ),
    "no number": Bad(
        ErrorKind.INVALID_INPUT, model="grid", row=[[math.nan, 2.0], [3.0, 4.0]], also=(ErrorKind.MALFORMED,)
    ),
}


def _assert_refused(said: Said, kind: ErrorKind, *also: ErrorKind) -> None:
    assert any(said.is_refused_as(each) for each in (kind, *also)), said
    assert said.detail
    assert "Traceback" not in said.detail
    assert said.headers["x-request-id"]


@pytest.mark.parametrize("case", _BAD)
def test_bad_calls(acme: Customer, models: TinyWorker, face: Face, case: str) -> None:
    bad = _BAD[case]
    said = face(bad.secret(acme), Ask(bad.model, (bad.row,)))
    _assert_refused(said, bad.kind, *bad.also)
    assert models.batches == []
    ledger.assert_untouched(acme)


def test_the_same_words_for_the_same_mistake(acme: Customer, face: Face) -> None:
    """People who read the answer of one face find it in the documents of another."""
    for ask in (Ask("nothing", ("hello",)), Ask("tiny", ("x" * 101,)), Ask("tiny", ("",))):
        assert faces.rest_v2(acme.secret, ask).detail in face(acme.secret, ask).detail


def test_a_suspended_tenant(acme: Customer, models: TinyWorker, face: Face) -> None:
    tenancy.suspend(tenant=acme.tenant)
    _assert_refused(face(acme.secret, Ask("tiny", ("hello",))), ErrorKind.FORBIDDEN)
    assert models.batches == []


def test_a_limit_that_is_used_up(acme: Customer, models: TinyWorker, face: Face) -> None:
    LimitRule.objects.create(plan=acme.plan, name="tight", kind=LimitKind.FIXED_WINDOW, amount=1, window_s=AGES_S)
    assert face(acme.secret, Ask("tiny", ("hello",))).kind is None
    said = face(acme.secret, Ask("tiny", ("another",)))
    _assert_refused(said, ErrorKind.QUOTA_EXCEEDED)
    assert "'tight' of 1 units" in said.detail
    assert int(said.headers["retry-after"]) == pytest.approx(left_s(), abs=60)
    assert '"tight";r=0' in said.headers["ratelimit"]
    assert len(models.batches) == 1
    assert ledger.units(acme.tenant) == 1


def test_a_call_larger_than_its_limit(acme: Customer, models: TinyWorker, face: Face) -> None:
    LimitRule.objects.filter(plan=acme.plan).update(amount=9)
    said = face(acme.secret, Ask("large", ("hello",)))
    _assert_refused(said, ErrorKind.CHARGE_TOO_LARGE)
    assert models.batches == []
    ledger.assert_untouched(acme)


def test_no_plan(acme: Customer, models: TinyWorker, face: Face) -> None:
    acme.tenant.subscriptions.all().delete()
    _assert_refused(face(acme.secret, Ask("tiny", ("hello",))), ErrorKind.FORBIDDEN)
    assert models.batches == []
    assert ledger.records(acme.tenant) == []


def test_a_version_that_has_ended(acme: Customer, models: TinyWorker, face: Face) -> None:
    make_schedule("model_version", "tiny@0.9.0", "tiny@1.0.0", announced_days_ago=400, deprecated_days_ago=300,
                  sunset_in_days=-1)  # fmt: skip
    said = face(acme.secret, Ask("tiny@0.9.0", ("hello",)))
    _assert_refused(said, ErrorKind.GONE)
    assert "tiny@1.0.0" in said.detail
    assert "sunset" in said.headers
    assert models.batches == []
    ledger.assert_untouched(acme)


def test_a_queue_that_is_full(acme: Customer, models: TinyWorker, face: Face, settings: Settings) -> None:
    settings.MAX_QUEUED_INPUTS = 0
    works.forget()
    said = face(acme.secret, Ask("tiny", ("hello",)))
    _assert_refused(said, ErrorKind.OVERLOADED)
    assert said.headers["retry-after"] == "1"
    assert models.batches == []
    ledger.assert_untouched(acme)


def test_a_model_that_fails(acme: Customer, face: Face) -> None:
    _assert_refused(face(acme.secret, Ask("tiny", (POISON,))), ErrorKind.UNPROCESSABLE)
    ledger.assert_untouched(acme)


def test_workers_too_busy_for_the_deadline(acme: Customer, models: TinyWorker, face: Face) -> None:
    models.go.clear()
    models.worker.heartbeat.beat()
    ref = versions.resolve("tiny")
    batcher()._pools.open(ref)[1].speed.token_s = 100.0  # What its batches have taken so far.
    under_way = WorkItem(b"tbefore", b"", Hold("", acme.tenant.pk, 1), clock.monotonic() + 30)
    batcher().submit([(ref, [under_way])])
    said = face(acme.secret, Ask("tiny", ("hello",)))
    _assert_refused(said, ErrorKind.OVERLOADED)
    assert int(said.headers["retry-after"]) > 100
    assert len(models.batches) == 1
    ledger.assert_untouched(acme)


def test_more_calls_wait_than_this_process_has_places_for(
    acme: Customer, models: TinyWorker, face_name: str, face: Face
) -> None:
    if face_name in {"grpc-stream", "rest-v1", "rest-v2"}:
        pytest.skip("its inputs wait without threads of their own")
    most = permits().total * 3 // 4
    for _ in range(most):
        permits().take(0, weight=1)
    said = face(acme.secret, Ask("tiny", ("hello",)))
    assert said.kind is None, "the last quarter is for others"
    for stranger in range(permits().total - most):
        permits().take(-1 - stranger, weight=1)
    said = face(acme.secret, Ask("tiny", ("another",)))
    _assert_refused(said, ErrorKind.OVERLOADED)
    assert len(models.batches) == 1
    assert face(acme.secret, Ask("tiny", ("hello",))).kind is None, "what a cache answers does not wait"


def test_a_model_that_is_late(acme: Customer, models: TinyWorker, face: Face, settings: Settings) -> None:
    settings.PREDICT_TIMEOUT_S = 0.2
    models.go.clear()
    said = face(acme.secret, Ask("tiny", ("hello",)))
    _assert_refused(said, ErrorKind.TIMEOUT)
    ledger.assert_untouched(acme)


def test_a_state_redis_that_is_away(acme: Customer, models: TinyWorker, face: Face, state_redis: RedisServer) -> None:
    assert face(acme.secret, Ask("tiny", ("hello",))).kind is None
    state_redis.stop()
    said = face(acme.secret, Ask("tiny", ("another",)))
    state_redis.start()
    _assert_refused(said, ErrorKind.UNAVAILABLE)
    assert len(models.batches) == 1


def test_a_batch_with_a_bad_row(acme: Customer, models: TinyWorker, face_name: str, face: Face) -> None:
    """Its neighbours are answered and paid; the Open Inference Protocol has no answer for a part and refuses the whole."""
    if face_name in WITHOUT_BATCHES:
        pytest.skip("it has no batches")
    said = face(acme.secret, Ask("tiny", ("good", "x" * 101, "also good")))
    if face_name.startswith("oip"):
        _assert_refused(said, ErrorKind.INVALID_INPUT)
        assert models.batches == []
        ledger.assert_untouched(acme)
        return
    assert [row.kind for row in said.rows] == [None, ErrorKind.INVALID_INPUT, None]
    assert said.units == ledger.units(acme.tenant) == 52
    assert sorted(models.computed) == ["also good", "good"]


def test_a_batch_without_the_scope(acme: Customer, models: TinyWorker, face_name: str, face: Face) -> None:
    if face_name in WITHOUT_BATCHES:
        pytest.skip("it has no batches")
    said = face(_key(acme, scopes=["predict"]), Ask("tiny", ("a", "b")))
    if face_name == "graphql":
        # An error of the whole field would take the answers of other fields, which were charged, with it.
        assert [row.kind for row in said.rows] == [ErrorKind.FORBIDDEN] * 2
    else:
        _assert_refused(said, ErrorKind.FORBIDDEN)
        assert "'batch'" in said.detail
    assert models.batches == []
    ledger.assert_untouched(acme)
