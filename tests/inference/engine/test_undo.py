"""A step that fails, whichever it is, gives back what the call had taken: holds, permit, leases, shares in equal computations."""

import gc
from collections.abc import Callable
from typing import Any

import pytest
from pytest_django import Settings

from billing import charging, contracts, pricing
from billing.admission import on_loop
from billing.admission.on_loop import Admission
from billing.models import LimitKind, LimitRule
from inference.batching.current import batcher
from inference.batching.work import WorkItem
from inference.cache import leases, single_flight, store
from inference.cache.waiters import SharedWork
from inference.calls import all_or_nothing
from inference.engine import started, works
from inference.engine.permits import permits
from inference.engine.predict import Started, begin, predict, predict_each, predict_many, single
from inference.engine.preparing import Prepared
from inference.engine.shared_holds import MOST_HELD_APART
from inference.engine.stages import admission as admission_stage
from inference.engine.stages import lookup
from inference.engine.wave_call import WaveCall
from inference.types import CallContext, PredictRequest, PredictResult
from mlplatform.lib import redis
from mlplatform.lib.errors import ErrorKind, PlatformError, unavailable
from tenants.authentication import Caller, authenticate
from tests.conftest import Customer
from tests.inference.engine.test_predict import eventually
from tests.support import ledger
from tests.support.tiny_model import TinyRuntime, TinyWorker, make_version
from tests.support.windows import AGES_S

pytestmark = pytest.mark.usefixtures("prices")

UNITS = 10


class Bug(Exception):
    """An error that no step foresees."""


def explode(*_: Any, **__: Any) -> Any:
    raise Bug


@pytest.fixture
def large(tiny_worker: TinyWorker, settings: Settings) -> TinyRuntime:
    """A model whose calls find one permit in this process: one that is kept is missed by the next call."""
    settings.MAX_WAITING_CALLS = 1
    return tiny_worker.serve(make_version("large"))


def caller_of(customer: Customer) -> Caller:
    return authenticate(customer.secret, address="192.0.2.1", fresh=True)


def call(**changes: Any) -> CallContext:
    return CallContext(**{"request_id": "req-1", "operation": "predict", "api_version": "v2", **changes})


def ask(customer: Customer, text: str = "hello") -> PredictResult:
    return single(predict(caller_of(customer), PredictRequest("large", text), call()))


def claims() -> list[Any]:
    return list(redis.cache().scan_iter(match=store.CLAIM + b"*"))


def assert_given_back(customer: Customer) -> None:
    """Nothing is charged or held, and the next equal call is answered and paid."""
    ledger.assert_untouched(customer)
    assert ledger.holds(customer.tenant) == 0
    assert single_flight.under_way() == []
    eventually(lambda: not claims())
    assert ask(customer).units == ledger.units(customer.tenant) > 0


def test_an_answered_call_is_freed_at_once_without_the_garbage_collector(acme: Customer, large: TinyRuntime) -> None:
    """What tells its end knows the call, and the call it: a circle that would keep its inputs until a collection."""
    ask(acme, "the first call, for which Redis loads its scripts")

    def held() -> int:
        return sum(issubclass(type(one), Started | WaveCall | Prepared) for one in gc.get_objects())

    gc.collect()
    before = held()  # Tests before this one may have left some.
    gc.disable()
    try:
        computed, cached = ask(acme), ask(acme)
        assert (computed.cached, cached.cached) == (False, True)
        # The loop lets go of what it was asked a moment after it has answered.
        eventually(lambda: held() <= before)
    finally:
        gc.enable()


# --- Each step of a call ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "name"),
    [
        (lookup, "_require_in_time"),
        (admission_stage, "charges_of"),
        (works, "SharedWork"),
        (leases, "take"),
        (batcher, "submit_each"),
        (WorkItem, "when_done"),
        (started, "result_of"),
    ],
    ids=["permit", "admission", "computation", "leases", "queue", "waiting", "rendering"],
)
def test_a_bug_after_any_step_gives_back_what_was_taken(
    acme: Customer, large: TinyRuntime, monkeypatch: pytest.MonkeyPatch, where: Any, name: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(batcher() if where is batcher else where, name, explode)
        with pytest.raises(Bug):
            ask(acme)
    assert_given_back(acme)


def test_a_bug_amid_calls_that_came_together_is_that_ones_problem(
    acme: Customer, large: TinyRuntime, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    LimitRule.objects.create(
        plan=acme.plan, name="tight", kind=LimitKind.FIXED_WINDOW, amount=2 * UNITS, window_s=AGES_S
    )
    contract = contracts.contract_of(caller_of(acme))
    charging.peek(contract=contract, limits=contract.limits)
    real = on_loop.admit
    asked: list[int] = []

    def admit(admission: Admission) -> None:
        asked.append(len(admission.charges))
        if len(asked) == 3:
            raise Bug
        real(admission)

    permits.cache_clear()
    settings.MAX_WAITING_CALLS = 10
    with monkeypatch.context() as patch:
        patch.setattr(on_loop, "admit", admit)
        requests = [PredictRequest("large", text) for text in ("one", "two", "three")]
        first, second, third = predict_each(caller_of(acme), requests, call()).results
    assert asked == [3, 1, 1, 1]
    assert isinstance(second, PlatformError)
    assert second.kind is ErrorKind.INTERNAL
    assert [isinstance(each, PredictResult) for each in (first, third)] == [True, True]
    assert ledger.units(acme.tenant) == 2 * UNITS
    assert ledger.holds(acme.tenant) == 0
    assert single_flight.under_way() == []
    assert claims() == []


def _unpriced(patch: pytest.MonkeyPatch) -> None:
    real: Callable[..., Any] = pricing.tariff
    patch.setattr(
        pricing, "tariff", lambda *, model, **more: real(model=model, **more) if model == "large" else explode()
    )


def _unadmitted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(on_loop, "admit", explode)


def _unanswered(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(WorkItem, "when_done", explode)


@pytest.mark.parametrize("fail", [_unpriced, _unadmitted, _unanswered])
def test_the_computation_of_another_call_is_left(
    acme: Customer,
    tiny_worker: TinyWorker,
    large: TinyRuntime,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    fail: Callable[[pytest.MonkeyPatch], None],
) -> None:
    settings.MAX_WAITING_CALLS = 10
    permits.cache_clear()
    tiny_worker.serve(make_version("small"))
    tiny_worker.go.clear()
    first = begin(caller_of(acme), [PredictRequest("large", "hello")], call())
    (running,) = single_flight.under_way()
    with monkeypatch.context() as patch:
        fail(patch)
        with pytest.raises(Bug):
            predict_many(caller_of(acme), [PredictRequest("large", "hello"), PredictRequest("small", "hello")], call())
    assert running._waiters == 1
    assert not running.abandoned
    tiny_worker.go.set()
    assert single(first.finish()).units == UNITS
    assert ledger.units(acme.tenant) == UNITS


def test_a_bulk_call_whose_last_input_cannot_be_begun_leaves_no_computation_of_the_others(
    acme: Customer, tiny_worker: TinyWorker, large: TinyRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_worker.serve(make_version("small"))
    count = MOST_HELD_APART + 1
    requests = [PredictRequest("small", f"text {number}", field=f"input[{number}]") for number in range(count)]
    real = works.work_of

    def work_of(item: Prepared, *positional: Any, **arguments: Any) -> SharedWork:
        return explode() if item.field == f"input[{count - 1}]" else real(item, *positional, **arguments)

    with monkeypatch.context() as patch:
        patch.setattr(works, "work_of", work_of)
        with pytest.raises(Bug):
            all_or_nothing.predict_whole(caller_of(acme), requests, call(operation="batch"))
    assert_given_back(acme)


def test_a_settlement_that_fails_takes_back_the_cached_answer_of_a_call_and_not_what_a_worker_settled(
    acme: Customer, large: TinyRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(acme, "known")
    before = ledger.units(acme.tenant)
    with monkeypatch.context() as patch:
        patch.setattr(on_loop, "settle", lambda *, done, **_: done(unavailable("away")))
        known, new = predict_many(
            caller_of(acme), [PredictRequest("large", "known"), PredictRequest("large", "new")], call()
        ).results
    assert isinstance(known, PlatformError)
    assert (known.kind, isinstance(new, PredictResult)) == (ErrorKind.UNAVAILABLE, True)
    assert ledger.units(acme.tenant) == before + UNITS, "a worker has settled the new one, which is answered"
    assert ledger.holds(acme.tenant) == 0
