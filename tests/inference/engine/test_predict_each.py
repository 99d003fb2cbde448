"""Calls of one input each that come together, and calls that their callers take back."""

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from billing import admission, charging, contracts, pricing
from billing.admission import on_loop
from billing.admission.on_loop import Admission, CounterLost
from billing.models import LimitKind, LimitRule, Price
from inference.batching.current import batcher
from inference.cache import single_flight
from inference.engine.predict import Answer, begin_each, predict, predict_each, single
from inference.types import CallContext, PredictRequest, PredictResult
from mlplatform.lib.cancellation import Cancellation
from mlplatform.lib.errors import ErrorKind, PlatformError, unavailable
from tenants.guards import StaleCaller
from tests.conftest import Customer
from tests.inference.engine.test_predict import (
    LARGE,
    LARGE_CACHED,
    call,
    caller_of,
    charges,
    eventually,
    kind_of,
    open_holds,
)
from tests.support import ledger
from tests.support.tiny_model import POISON, TinyRuntime, TinyWorker, make_version, share_of
from tests.support.windows import AGES_S

pytestmark = pytest.mark.usefixtures("prices")


@pytest.fixture
def large(tiny_worker: TinyWorker) -> TinyRuntime:
    return tiny_worker.serve(make_version("large"))


def each(customer: Customer, *texts: Any, model: str = "large", **changes: Any) -> Answer:
    requests = [
        PredictRequest(model, text, path=f"item {number}: ", call_id=f"call-{number}")
        for number, text in enumerate(texts)
    ]
    return predict_each(caller_of(customer), requests, call(**changes))


def paid_and_held(customer: Customer) -> list[tuple[int, int]]:
    """Units of each usage record, and what was held for it; where it paid less, the ledger calls it cached."""
    return sorted((record.units, record.body["held_units"]) for record in ledger.records(customer.tenant))


def kinds(answer: Answer) -> list[ErrorKind | None]:
    return [result.kind if isinstance(result, PlatformError) else None for result in answer.results]


def count_this_month(customer: Customer) -> None:
    """The counter of the month stands, as it does after a tenant's first call of it."""
    contract = contracts.contract_of(caller_of(customer))
    charging.peek(contract=contract, limits=contract.limits)


@pytest.fixture
def admissions(acme: Customer, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many charges each round trip of admission had."""
    count_this_month(acme)
    seen: list[int] = []
    real = on_loop.admit

    def admit(admission: Admission) -> None:
        seen.append(len(admission.charges))
        real(admission)

    monkeypatch.setattr(on_loop, "admit", admit)
    return seen


def amid_refusals(monkeypatch: pytest.MonkeyPatch, outcome: Exception) -> None:
    """A group of two is refused; then the first of them is asked for alone, and the second meets ``outcome``."""
    asked: list[Admission] = []
    real = on_loop.admit

    def admit(admission: Admission) -> None:
        asked.append(admission)
        if len(asked) == 3:
            admission.done(outcome)
        else:
            real(admission)

    monkeypatch.setattr(on_loop, "admit", admit)


def test_a_group_takes_one_round_trip_and_each_is_a_call(
    acme: Customer, large: TinyRuntime, admissions: list[int]
) -> None:
    answer = each(acme, "one", "two", "three")
    assert [result.units for result in answer.results if isinstance(result, PredictResult)] == [LARGE] * 3
    assert answer.units == 3 * LARGE
    assert admissions == [3]
    bodies = [record.body for record in ledger.records(acme.tenant)]
    assert sorted(body["request_id"] for body in bodies) == ["call-0", "call-1", "call-2"]
    assert [(body["operation"], body["requests"], body["inputs"]) for body in bodies] == [("predict", 1, 1)] * 3


def test_a_group_of_cached_answers_is_metered_at_admission(
    acme: Customer, large: TinyRuntime, admissions: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    each(acme, "one", "two")
    monkeypatch.setattr(admission, "settle", lambda **_: pytest.fail("a second round trip"))
    answer = each(acme, "one", "two")
    assert answer.units == 2 * LARGE_CACHED
    assert admissions == [2, 2]


def test_a_bad_one_leaves_the_others(acme: Customer, large: TinyRuntime) -> None:
    answer = each(acme, "good", 7, "also good")
    assert kinds(answer) == [None, ErrorKind.INVALID_INPUT, None]
    problem = answer.results[1]
    assert isinstance(problem, PlatformError)
    assert problem.field == "item 1: input"
    assert charges(acme) == [("large", LARGE, False)] * 2


def test_limits_let_through_what_fits_and_refuse_the_rest(acme: Customer, large: TinyRuntime) -> None:
    LimitRule.objects.create(
        plan=acme.plan, name="tight", kind=LimitKind.FIXED_WINDOW, amount=2 * LARGE, window_s=AGES_S
    )
    answer = each(acme, "one", "two", "three", "four")
    assert kinds(answer) == [None, None, ErrorKind.QUOTA_EXCEEDED, ErrorKind.QUOTA_EXCEEDED]
    assert charges(acme) == [("large", LARGE, False)] * 2
    assert large.computed == ["one", "two"]
    assert answer.decision is not None
    assert not answer.decision.granted


def test_a_refused_one_leaves_the_computation_that_it_joined(
    acme: Customer, tiny_worker: TinyWorker, large: TinyRuntime
) -> None:
    amount = 2 * LARGE
    LimitRule.objects.create(plan=acme.plan, name="tight", kind=LimitKind.FIXED_WINDOW, amount=amount, window_s=AGES_S)
    tiny_worker.go.clear()
    caller, request = caller_of(acme), PredictRequest("large", "same")
    first = begin_each(caller, [request], call())
    (running,) = single_flight.under_way()
    # Who joins holds the whole price, which is all that is left, until it is known who pays for the computation.
    rest = begin_each(caller, [request, PredictRequest("large", "other"), request], call())
    assert running._waiters == 2, "the first, and the one that was admitted"
    tiny_worker.go.set()
    assert kinds(rest.finish()) == [None, ErrorKind.QUOTA_EXCEEDED, ErrorKind.QUOTA_EXCEEDED]
    assert single(first.finish()).units == LARGE
    assert paid_and_held(acme) == [(LARGE_CACHED, LARGE), (LARGE, LARGE)]


def test_when_the_key_changes_amid_refusals_what_was_admitted_is_answered(
    acme: Customer, large: TinyRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    amid_refusals(monkeypatch, StaleCaller())
    LimitRule.objects.create(plan=acme.plan, name="tight", kind=LimitKind.FIXED_WINDOW, amount=LARGE, window_s=AGES_S)
    count_this_month(acme)
    answer = each(acme, "one", "two")
    assert kinds(answer) == [None, ErrorKind.UNAVAILABLE]


def test_a_key_that_changed_is_read_anew_before_anything_is_admitted(
    acme: Customer, large: TinyRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_loop, "admit", lambda admission: admission.done(StaleCaller()))
    with pytest.raises(StaleCaller):
        each(acme, "one", "two")
    ledger.assert_untouched(acme)


def test_the_price_of_a_call_is_paid_by_each_and_told_in_its_units(acme: Customer, large: TinyRuntime) -> None:
    Price.objects.filter(model="large").update(per_call=3)
    pricing.forget()
    answer = each(acme, "one", "two")
    assert [result.units for result in answer.results if isinstance(result, PredictResult)] == [LARGE + 3] * 2
    assert answer.units == ledger.units(acme.tenant) == 2 * (LARGE + 3)
    alone = predict(caller_of(acme), PredictRequest("large", "three"), call())
    assert single(alone).units == alone.units == LARGE + 3


def test_several_groups_are_on_their_way_at_once(acme: Customer, tiny_worker: TinyWorker, large: TinyRuntime) -> None:
    tiny_worker.go.clear()
    caller = caller_of(acme)
    groups = [begin_each(caller, [PredictRequest("large", text)], call()) for text in ("a", "b", "c")]
    assert open_holds(acme) == 3
    tiny_worker.go.set()
    answers = [single(group.finish()) for group in groups]
    shares = [score.score for answer in answers for score in answer.predictions or () if score.label == "yes"]
    assert shares == pytest.approx([share_of(text) for text in ("a", "b", "c")], abs=1e-6)


def take_back(customer: Customer, cancellation: Cancellation) -> None:
    eventually(lambda: open_holds(customer))
    cancellation.cancel()


def test_a_call_that_is_taken_back_is_not_charged(acme: Customer, tiny_worker: TinyWorker, large: TinyRuntime) -> None:
    tiny_worker.go.clear()
    cancellation = Cancellation()
    thread = threading.Thread(target=take_back, args=(acme, cancellation))
    thread.start()
    context = call(cancellation=cancellation)
    caller = caller_of(acme)
    assert kind_of(lambda: predict(caller, PredictRequest("large", "hello"), context)) is ErrorKind.TIMEOUT
    thread.join(30)
    assert open_holds(acme) == 0
    tiny_worker.go.set()
    eventually(lambda: not tiny_worker._queue.qsize())
    assert charges(acme) == []
    assert single_flight.under_way() == []


def test_a_call_that_is_taken_back_leaves_an_equal_one(
    acme: Customer, tiny_worker: TinyWorker, large: TinyRuntime
) -> None:
    """The first to ask goes; whoever waits with it still gets the answer, and pays for it, for nobody else does."""
    tiny_worker.go.clear()
    caller = caller_of(acme)
    request = PredictRequest("large", "hello")
    cancellation = Cancellation()
    first = begin_each(caller, [request], call(cancellation=cancellation))
    second = begin_each(caller, [request], call())
    third = begin_each(caller, [request], call())
    cancellation.cancel()
    assert kind_of(lambda: single(first.finish())) is ErrorKind.TIMEOUT
    tiny_worker.go.set()
    paid, joined = single(second.finish()), single(third.finish())
    assert (paid.units, paid.cached) == (LARGE, False)
    assert (joined.units, joined.cached) == (LARGE_CACHED, True)
    assert large.computed == ["hello"]
    assert paid_and_held(acme) == [(LARGE_CACHED, LARGE), (LARGE, LARGE)]
    assert open_holds(acme) == 0


def test_calls_that_fail_together_have_problems_of_their_own(
    acme: Customer, tiny_worker: TinyWorker, large: TinyRuntime
) -> None:
    """A face writes its own field and request id into a problem."""
    tiny_worker.go.clear()
    caller, request = caller_of(acme), PredictRequest("large", POISON)
    both = [begin_each(caller, [request], call()) for _ in range(2)]
    tiny_worker.go.set()
    first, second = (started.finish().results[0] for started in both)
    assert isinstance(first, PlatformError)
    assert isinstance(second, PlatformError)
    first.extra["request_id"] = first.field = "mine"
    assert (second.kind, second.detail) == (first.kind, first.detail)
    assert (second.field, second.extra) == (None, {})
    assert len(tiny_worker.batches) == 1
    assert charges(acme) == []


def test_an_answer_that_came_before_it_was_taken_back_is_the_callers(
    acme: Customer, tiny_worker: TinyWorker, large: TinyRuntime
) -> None:
    cancellation = Cancellation()
    started = begin_each(caller_of(acme), [PredictRequest("large", "hello")], call(cancellation=cancellation))
    eventually(lambda: ledger.records(acme.tenant))
    eventually(lambda: not single_flight.under_way())
    cancellation.cancel()
    assert single(started.finish()).units == LARGE


@pytest.mark.parametrize("count", [1, 3])
def test_a_queue_that_is_full_charges_no_group(
    acme: Customer, large: TinyRuntime, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    def full(calls: Sequence[Any]) -> list[PlatformError]:
        return [PlatformError(ErrorKind.OVERLOADED, "full", retry_after_s=1.0) for _ in calls]

    monkeypatch.setattr(batcher(), "submit_each", full)
    answer = each(acme, *[f"text {number}" for number in range(count)])
    assert kinds(answer) == [ErrorKind.OVERLOADED] * count
    assert charges(acme) == []
    assert single_flight.under_way() == []


def test_redis_that_goes_amid_refusals_is_that_calls_problem(
    acme: Customer, large: TinyRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    LimitRule.objects.create(plan=acme.plan, name="tight", kind=LimitKind.FIXED_WINDOW, amount=LARGE, window_s=AGES_S)
    count_this_month(acme)
    amid_refusals(monkeypatch, unavailable("away"))
    assert kinds(each(acme, "one", "two")) == [None, ErrorKind.UNAVAILABLE]
    assert charges(acme) == [("large", LARGE, False)]


def test_contexts_say_which_protocol_was_spoken(acme: Customer, large: TinyRuntime) -> None:
    context = CallContext(request_id="r", operation="predict", api_version="grpc")
    predict(caller_of(acme), PredictRequest("large", "hello"), context)
    assert [record.body["api_version"] for record in ledger.records(acme.tenant)] == ["grpc"]


def test_a_counter_that_is_lost_beside_calls_under_way_loses_none_of_them(
    acme: Customer, tiny_worker: TinyWorker, large: TinyRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call that met it begins anew once its counter stands; the other one, of another model with a limit, waits meanwhile."""
    tiny_worker.serve(make_version("small"))
    in_small = {"scope": "model", "model": "small"}
    LimitRule.objects.create(
        plan=acme.plan, name="of one model", kind=LimitKind.FIXED_WINDOW, amount=100, window_s=AGES_S, **in_small
    )
    count_this_month(acme)
    real = on_loop.admit
    lost: list[Admission] = []

    def admit(admission: Admission) -> None:
        if admission.charges[0].model == "small" and not lost:
            lost.append(admission)
            admission.done(CounterLost())
        else:
            real(admission)

    monkeypatch.setattr(on_loop, "admit", admit)
    tiny_worker.go.clear()
    begun = begin_each(caller_of(acme), [PredictRequest("large", "one"), PredictRequest("small", "two")], call())
    assert lost
    assert open_holds(acme) == 2
    tiny_worker.go.set()
    answer = begun.finish()
    assert kinds(answer) == [None, None]
    assert answer.units == ledger.units(acme.tenant)
