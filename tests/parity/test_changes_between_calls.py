"""A change of the contract, the key or its secrets between two calls of a process: the next call is answered at once."""

from collections.abc import Callable
from typing import Any

import pytest
from pytest_django import DjangoCaptureOnCommitCallbacks

from billing import contracts
from billing.models import LimitKind, LimitRule
from inference.models import ModelVersion
from mlplatform.lib import enqueue
from tenants import api_keys, authentication
from tenants.authentication import Caller
from tests.conftest import Customer
from tests.parity import faces
from tests.parity.faces import Ask, Face
from tests.support import ledger
from tests.support.every_call import CALLS, Call
from tests.support.live_worker import LiveWorker
from tests.support.models_folder import models_dir
from tests.support.rest import Api

__all__ = ["models_dir"]

pytestmark = pytest.mark.usefixtures("prices")

GRPC = ("grpc", "grpc-stream", "oip-grpc")


def _limit(acme: Customer) -> None:
    values = {"kind": LimitKind.TOKEN_BUCKET, "amount": 500, "rate": 50.0}
    rule, _ = LimitRule.objects.update_or_create(plan=acme.plan, name="new", defaults=values)
    contracts.rules_changed(rule=rule)


def _rename(acme: Customer) -> None:
    acme.key.name = "Renamed"
    acme.key.save(update_fields=["name"])
    api_keys.changed(key=acme.key)


def _all(acme: Customer) -> None:
    _limit(acme)
    _rename(acme)
    api_keys.rotate(key=acme.key)


CHANGES: dict[str, Callable[[Customer], Any]] = {
    "a limit of the plan": _limit,
    "a subscription": lambda acme: contracts.subscription_changed(subscription=acme.tenant.subscriptions.get()),
    "a field of the key": _rename,
    "another secret": lambda acme: api_keys.rotate(key=acme.key),
    "all at once": _all,
}


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The callers that were read anew because they were stale."""
    found: list[str] = []
    authenticate = authentication.authenticate

    def noting(secret: str, *, address: str, fresh: bool = False) -> Caller:
        caller = authenticate(secret, address=address, fresh=fresh)
        found.extend([caller.key_uid] if fresh else [])
        return caller

    monkeypatch.setattr(authentication, "authenticate", noting)
    return found


def change(acme: Customer, name: str, commit: DjangoCaptureOnCommitCallbacks) -> None:
    with commit(execute=True):
        CHANGES[name](acme)


@pytest.mark.parametrize("name", CALLS)
def test_over_http(
    acme: Customer,
    live_worker: LiveWorker,
    models_dir: object,
    name: str,
    fresh: list[str],
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    monkeypatch.setattr(enqueue, "send", lambda task, queue, kwargs: None)
    call: Call = CALLS[name]
    for number, what in enumerate(CHANGES):
        chunked = bool(number % 2)
        assert call.send(Api(acme), chunked=chunked).status == call.status
        ModelVersion.objects.filter(model__name="shapes").delete()  # So that it can be pushed again.
        fresh.clear()
        change(acme, what, django_capture_on_commit_callbacks)
        answer = call.send(Api(acme), chunked=chunked)
        assert answer.status == call.status, (what, answer.content)
        assert fresh == [acme.key.uid], what
        ModelVersion.objects.filter(model__name="shapes").delete()


@pytest.mark.parametrize("face_name", GRPC)
def test_over_grpc(
    acme: Customer,
    live_worker: LiveWorker,
    grpc_target: str,
    face_name: str,
    fresh: list[str],
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    made = {"grpc": faces.grpc_of, "grpc-stream": faces.grpc_stream_of, "oip-grpc": faces.oip_grpc_of}
    face: Face = made[face_name](grpc_target)
    for what in CHANGES:
        assert face(acme.secret, Ask("sentiment", ("What a wonderful morning!",))).kind is None
        fresh.clear()
        change(acme, what, django_capture_on_commit_callbacks)
        said = face(acme.secret, Ask("sentiment", ("What a wonderful morning!",)))
        assert said.kind is None, (what, said)
        assert len(fresh) == 1, what


@pytest.mark.parametrize(("times", "status"), [(1, 200), (5, 200), (8, 200), (9, 503)])
def test_changes_that_follow_each_other(
    acme: Customer,
    live_worker: LiveWorker,
    times: int,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    """Each is made when the process has just read the caller anew."""
    api, call = Api(acme), CALLS["v2"]
    assert call.send(api).status == 200
    before = len(ledger.records(acme.tenant))
    change(acme, "a field of the key", django_capture_on_commit_callbacks)
    authenticate, left = authentication.authenticate, [None] * times

    def then_changed(secret: str, *, address: str, fresh: bool = False) -> Caller:
        caller = authenticate(secret, address=address, fresh=fresh)
        if fresh and left:
            left.pop()
            change(acme, "a field of the key", django_capture_on_commit_callbacks)
        return caller

    monkeypatch.setattr(authentication, "authenticate", then_changed)
    answer = call.send(api, chunked=True)
    assert answer.status == status
    if status == 503:
        assert int(answer.headers["Retry-After"]) >= 1
    assert len(ledger.records(acme.tenant)) == before + (status == 200)
    assert ledger.holds(acme.tenant) == 0
