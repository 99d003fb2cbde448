"""Waves: what gathers while round trips are under way goes on together, and each call is decided, charged and told by itself."""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest

from billing import admission, contracts
from billing.admission import Settled, on_loop
from billing.models import LimitKind, LimitRule, LimitScope
from inference.cache import links
from inference.engine import waves
from inference.engine.stages import completion
from mlplatform.lib import event_loop
from mlplatform.lib.cancellation import Cancellation
from mlplatform.lib.errors import ErrorKind, PlatformError, unavailable
from tests.conftest import Customer
from tests.inference.engine.test_predict import LARGE, LARGE_CACHED, charges, eventually
from tests.inference.engine.wave_calls import Runs, Sent, count_this_month, join, made, together
from tests.support import ledger
from tests.support.redis_server import RedisServer
from tests.support.tiny_model import POISON, TinyRuntime, TinyWorker, make_version
from tests.support.windows import AGES_S

pytestmark = pytest.mark.usefixtures("prices")

WAVE = 256
PATIENCE_S = 0.01


@pytest.fixture
def large(tiny_worker: TinyWorker) -> TinyRuntime:
    return tiny_worker.serve(make_version("large"))


@pytest.fixture
def runs(acme: Customer, globex: Customer, large: TinyRuntime, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Of a product whose customers have called before."""
    count_this_month(acme, globex)
    return Runs(monkeypatch)


def tight(customer: Customer, amount: int, *, model: str = "") -> None:
    scope = LimitScope.MODEL if model else LimitScope.TENANT
    kind = LimitKind.FIXED_WINDOW
    LimitRule.objects.create(
        plan=customer.plan, name="tight", scope=scope, model=model, kind=kind, amount=amount, window_s=AGES_S
    )
    contracts.forget_all()


def is_longer(runs: Runs, than: int) -> bool:
    return len(runs) > than


def is_explained(sent: Sent) -> bool:
    subject = sent.call.contract.subject
    found = admission.explain(shard=subject.shard, tenant_id=subject.tenant_id, request_id=sent.call.request_id)
    return found is not None


# --- When a wave leaves ----------------------------------------------------------------------------------------------


def test_a_lone_call_leaves_in_the_next_turn_of_the_loop(acme: Customer, runs: Runs) -> None:
    assert together(made(acme, "known")) == [None]
    runs.clear()
    again = made(acme, "known")

    async def turns() -> list[int]:
        waves.join([again.call])
        seen = []
        for _ in range(2):
            seen.append(len(runs))
            await asyncio.sleep(0)
        return [*seen, len(runs)]

    seen = asyncio.run_coroutine_threadsafe(turns(), event_loop.get()).result(30)
    assert (seen[0], seen[-1]) == (0, 1), (
        "not in the turn of its arrival, with which others may come; then without a timer"
    )
    assert again.problem is None


def test_calls_of_one_turn_are_one_run_for_each_caller(acme: Customer, globex: Customer, runs: Runs) -> None:
    ours = [made(acme, f"text {number}") for number in range(5)]
    theirs = [made(globex, f"text {number}") for number in range(3)]
    assert together(*ours, *theirs) == [None] * 8
    assert [(run.tenant_id, run.charges) for run in runs] == [(acme.tenant.pk, 5), (globex.tenant.pk, 3)]
    assert [len(ledger.records(each.tenant)) for each in (acme, globex)] == [5, 3]


def test_behind_a_wave_the_next_one_gathers_and_leaves_after_ten_milliseconds(
    acme: Customer, runs: Runs, state_redis: RedisServer
) -> None:
    sent = [made(acme, f"text {number}") for number in range(4)]
    state_redis.pause()
    try:
        for each in sent[:2]:
            before = len(runs)
            join(each)
            eventually(partial(is_longer, runs, before))
        joined_at = time.monotonic()
        join(*sent[2:])
        eventually(lambda: len(runs) == 3)
    finally:
        state_redis.resume()
    assert runs.sizes == [1, 1, 2]
    assert runs[2].at - joined_at >= PATIENCE_S * 0.9, "it gathered as long as it may"
    assert [each.problem for each in sent] == [None] * 4


def test_a_greedy_tenant_leaves_places_in_each_wave(acme: Customer, globex: Customer, runs: Runs) -> None:
    assert together(made(acme, "known"), made(globex, "known")) == [None] * 2
    runs.clear()
    greedy = [made(acme, "known", name=f"greedy-{number}") for number in range(WAVE + 44)]
    modest = [made(globex, "known", name=f"modest-{number}") for number in range(10)]
    assert together(*greedy, *modest) == [None] * len([*greedy, *modest])
    assert [(run.tenant_id, run.charges) for run in runs] == [
        (acme.tenant.pk, WAVE - 10),
        (globex.tenant.pk, 10),
        (acme.tenant.pk, 54),
    ]


def test_what_is_too_much_for_a_wave_does_not_wait_for_a_silent_redis(
    acme: Customer, globex: Customer, runs: Runs, state_redis: RedisServer
) -> None:
    together(made(acme, "known"))
    runs.clear()
    sent = [made(acme, "known", name=f"call-{number}") for number in range(3 * WAVE)]
    state_redis.pause()
    try:
        join(*sent)
        eventually(lambda: len(runs) == 3)
        assert not any(each.ends for each in sent), "none had to fail first"
    finally:
        state_redis.resume()
    assert runs.sizes == [WAVE] * 3


# --- What a run holds ------------------------------------------------------------------------------------------------


def test_what_limits_or_settles_differently_is_another_run(acme: Customer, runs: Runs, tiny_worker: TinyWorker) -> None:
    tiny_worker.serve(make_version("small"))
    tight(acme, 500, model="small")
    together(made(acme, "known"))
    runs.clear()
    alike = [made(acme, "new"), made(acme, "newer")]
    alike[1].call.limits = alike[0].call.limits  # As a caller's plan gives them.
    apart = [made(acme, "known"), made(acme, "other model", model="small"), made(acme, "hasty", timeout_s=7.0)]
    assert together(*alike, *apart) == [None] * 5
    assert sorted((run.charges, run.settle_now) for run in runs) == [(1, False), (1, False), (1, True), (2, False)]


def test_a_refusal_concerns_those_for_which_there_is_no_room_and_is_explained_by_their_names(
    acme: Customer, globex: Customer, runs: Runs
) -> None:
    tight(acme, 2 * LARGE)
    sent = [made(acme, f"text {number}", name=f"call-{number}") for number in range(4)]
    other = made(globex, "text", name="other")
    assert together(*sent, other) == [None, None, ErrorKind.QUOTA_EXCEEDED, ErrorKind.QUOTA_EXCEEDED, None]
    assert [is_explained(each) for each in [*sent, other]] == [False, False, True, True, False]
    assert sorted((run.charges, run.request_id) for run in runs if run.tenant_id == acme.tenant.pk) == [
        *((1, f"call-{number}") for number in range(4)),
        (4, ""),
    ]
    assert charges(acme) == [("large", LARGE, False)] * 2
    assert charges(globex) == [("large", LARGE, False)]


def test_equal_inputs_of_a_wave_are_computed_once_and_one_of_them_pays(
    acme: Customer, runs: Runs, large: TinyRuntime
) -> None:
    sent = [made(acme, "same", name=f"call-{number}") for number in range(3)]
    assert together(*sent) == [None] * 3
    assert large.computed == ["same"]
    assert sorted(each.units for each in sent) == [LARGE_CACHED, LARGE_CACHED, LARGE]
    assert sorted(record.units for record in ledger.records(acme.tenant)) == [LARGE_CACHED, LARGE_CACHED, LARGE]


# --- How calls end ---------------------------------------------------------------------------------------------------


def test_a_worker_that_settled_and_then_failed_ends_a_call_that_was_given_up(
    acme: Customer, tiny_worker: TinyWorker, runs: Runs
) -> None:
    """Such as one that died with its answer, as the deadline of its caller passed."""
    tiny_worker.go.clear()
    sent = made(acme, POISON)
    join(sent)
    eventually(lambda: sent.call.is_held)
    subject = sent.call.contract.subject
    hold = admission.Settlement(hold_id=sent.item.hold_id)
    admission.settle(tenant_id=subject.tenant_id, shard=subject.shard, holds=[hold])
    event_loop.call(lambda: completion.give_up(sent.call))
    eventually(lambda: sent.call.is_ending)
    tiny_worker.go.set()
    assert sent.problem is not None
    assert charges(acme) == []


def test_an_input_that_was_given_up_stays_so_when_its_computation_ends(
    acme: Customer, tiny_worker: TinyWorker, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of three inputs are settled, and their answers on the way; the third waits with an equal one of them."""
    monkeypatch.setattr(completion, "SETTLED_WAIT_S", 30.0)
    tiny_worker.go.clear()
    sent = made(acme, "first", "second", "first", name="call")
    first, second, equal = sent.call.items
    join(sent)
    eventually(lambda: equal.joined is not None)
    subject = sent.call.contract.subject
    holds = [admission.Settlement(hold_id=item.hold_id) for item in (first, second)]
    admission.settle(tenant_id=subject.tenant_id, shard=subject.shard, holds=holds)
    event_loop.call(lambda: completion.give_up(sent.call))
    eventually(lambda: equal.outcome is not None)
    work = first.work
    assert work is not None
    event_loop.call(lambda: work.succeed(b"\0" * 8))
    assert not sent.ends, "the second input is waited for"
    tiny_worker.go.set()
    assert sent.answered == [first, second]
    assert isinstance(equal.outcome, PlatformError)
    assert charges(acme) == [("large", LARGE, False), ("large", LARGE, False), ("", 0, False)], (
        "the last one counts the call"
    )


def test_where_redis_fails_a_call_s_own_settlement_what_workers_settled_is_answered(
    acme: Customer, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third input, which an equal one answered, the fee, and the count of the call are what the call settles itself."""

    def settle(*, done: Callable[[Sequence[Settled] | PlatformError], None], **_: Any) -> None:
        event_loop.tell(done, unavailable("Redis is away."))

    monkeypatch.setattr(on_loop, "settle", settle)
    sent = made(acme, "first", "second", "first", name="call", fee=3)
    join(sent)
    first, second, equal = sent.call.items
    assert sent.answered == [first, second]
    assert isinstance(equal.outcome, PlatformError)
    assert equal.outcome.kind is ErrorKind.UNAVAILABLE
    assert sent.units == 2 * LARGE
    assert charges(acme) == [("large", LARGE, False)] * 2


def test_a_call_whose_answer_is_being_paid_is_not_given_up(acme: Customer, tiny_worker: TinyWorker, runs: Runs) -> None:
    """It would be answered, and its hold given back before it is paid."""
    tiny_worker.go.clear()
    first, second = made(acme, "same", name="first"), made(acme, "same", name="second")
    join(first, second)
    eventually(lambda: second.item.joined is not None)
    subject, work = first.call.contract.subject, first.item.work
    assert work is not None
    paying = admission.Settlement(hold_id=first.item.hold_id)
    admission.settle(tenant_id=subject.tenant_id, shard=subject.shard, holds=[paying])

    def turn() -> None:
        work.succeed(b"\0" * 8)
        completion.give_up(second.call)
        time.sleep(0.2)  # What threads beside the loop do comes first.

    event_loop.call(turn)
    assert [first.problem, second.problem] == [None, None]
    assert sorted(record.units for record in ledger.records(acme.tenant)) == [LARGE_CACHED, LARGE]
    assert ledger.holds(acme.tenant) == 0
    tiny_worker.go.set()


def test_a_call_that_is_taken_back_while_its_input_is_claimed_leaves_the_others_of_its_wave(
    acme: Customer, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancellation = Cancellation()
    sent = [made(acme, "taken back", cancellation=cancellation), made(acme, "other")]
    ask = links.run

    def cancel_first(*arguments: Any) -> None:
        cancellation.cancel()
        completion.give_up(sent[0].call)
        event_loop.in_thread(sent[0].ended.wait, lambda _: ask(*arguments))

    monkeypatch.setattr(links, "run", cancel_first)
    assert together(*sent) == [ErrorKind.TIMEOUT, None]
    assert charges(acme) == [("large", LARGE, False)]
