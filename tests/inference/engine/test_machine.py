"""Calls of two tenants in any order of waves, refusals, cancellations, deadlines, losses, failures and pauses of Redis: what was
answered is charged, nothing else is, and nothing is left."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from prometheus_client import REGISTRY

from billing import charging, contracts, late_releases
from billing.admission import Settled, Settlement, on_loop
from billing.models import LimitKind, LimitRule
from inference.cache import leases, single_flight, store
from inference.engine import linger, plans, works
from inference.engine.permits import permits
from inference.engine.stages import completion
from inference.types import CachePolicy
from mlplatform.lib import clock, event_loop, redis
from mlplatform.lib.cancellation import Cancellation
from mlplatform.lib.errors import PlatformError
from tests.conftest import Customer
from tests.inference.engine.test_predict import eventually
from tests.inference.engine.wave_calls import Sent, count_this_month, join, made
from tests.support import ledger
from tests.support.examples import examples
from tests.support.redis_server import RedisServer
from tests.support.tiny_model import POISON, TinyWorker, make_version
from tests.support.windows import AGES_S

pytestmark = pytest.mark.usefixtures("prices", "hasty_redis_clients")

T = TypeVar("T")
Settlements = Sequence[Settled] | PlatformError

TIGHT = 65
AT_ONCE = 5
PATIENT_S = 20.0
FRESH = CachePolicy(read=False)

TEXTS = st.sampled_from(["a", "b", "c", "new", POISON])


@dataclass(frozen=True)
class Kind:
    """Of a call of several inputs: see ``WaveCall``."""

    fee: int = 0
    whole: bool = False
    is_bulk: bool = False


KINDS = [Kind(), Kind(fee=2), Kind(whole=True), Kind(fee=3, whole=True, is_bulk=True)]

CALLS = st.lists(
    st.tuples(
        st.booleans(),
        st.one_of(TEXTS.map(lambda text: [text]), st.lists(TEXTS, min_size=2, max_size=4)),
        st.sampled_from(KINDS),
        st.sampled_from([PATIENT_S, PATIENT_S, 0.05]),
        st.sampled_from([CachePolicy(), CachePolicy(), FRESH]),
    ),
    min_size=1,
    max_size=4,
)


def patiently(ask: Callable[[], T]) -> T:
    """Of a Redis that a busy machine keeps from answering these hasty clients in time."""
    give_up = time.monotonic() + 30
    while True:
        try:
            return ask()
        except (PlatformError, *redis.FAILURES):
            assert time.monotonic() < give_up


def all_given_back() -> bool:
    late_releases.give_back()
    return not late_releases.waiting()


class Calls(RuleBasedStateMachine):
    """What calls and what goes wrong; the books are looked at in the end."""

    acme: Customer
    globex: Customer
    tiny: TinyWorker
    server: RedisServer
    unsettled: set[str]
    """Holds that Redis failed to settle for their calls, noted by ``machine``. A call whose own is one of them counts as none."""

    def __init__(self) -> None:
        super().__init__()
        self.server.flush()
        self.unsettled.clear()
        patiently(redis.cache().flushall)
        late_releases.forget()
        works.forget()
        linger.forget()
        permits.cache_clear()
        patiently(lambda: count_this_month(self.acme, self.globex))
        self.sent: list[tuple[Sent, Cancellation]] = []
        self.numbers = itertools.count()
        self.paused = False
        self.claimed: list[bytes] = []

    @rule(calls=CALLS)
    def call(self, calls: list[tuple[bool, list[str], Kind, float, CachePolicy]]) -> None:
        """In one turn of the loop."""
        wave = [self._made(*each) for each in calls]
        self.sent += wave
        join(*(sent for sent, _ in wave))

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self._cancel(*data.draw(st.sampled_from(self.sent)))

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def another_process_claims_an_equal_input(self, data: st.DataObject) -> None:
        sent, _ = data.draw(st.sampled_from(self.sent))
        name = store.CLAIM + sent.call.items[0].lease_key
        # Where it is claimed here the claim is lost later, which may be, too.
        patiently(lambda: redis.cache().set(name, b"another", nx=True))
        self.claimed.append(name)

    @precondition(lambda self: self.claimed)
    @rule()
    def the_other_process_dies(self) -> None:
        name = self.claimed.pop()
        patiently(lambda: redis.cache().delete(name))

    @precondition(lambda self: self.claimed)
    @rule()
    def the_other_process_answers(self) -> None:
        key = self.claimed.pop().removeprefix(store.CLAIM)
        store.keep({key: b"\0\0\0?\0\0\0?"}, ttl_s=60)

    @rule(working=st.booleans())
    def the_worker_stops_or_goes_on(self, working: bool) -> None:
        (self.tiny.go.set if working else self.tiny.go.clear)()

    @rule()
    def the_next_batch_is_lost(self) -> None:
        self.tiny.lose += 1

    @precondition(lambda self: not self.paused)
    @rule()
    def redis_stops(self) -> None:
        self.paused = True
        self.server.pause()

    @precondition(lambda self: self.paused)
    @rule(after_s=st.sampled_from([0.0, 0.05, 0.25]))
    def redis_goes_on(self, after_s: float) -> None:
        time.sleep(after_s)
        self.paused = False
        self.server.resume()

    @rule(seconds=st.sampled_from([0.005, 0.03]))
    def time_passes(self, seconds: float) -> None:
        time.sleep(seconds)

    def teardown(self) -> None:
        self.server.resume()
        self.tiny.lose = 0
        self.tiny.go.set()
        if self.claimed:
            patiently(lambda: redis.cache().delete(*self.claimed))
        self._come_to_an_end()
        for customer in (self.acme, self.globex):
            self._assert_charged(customer)
        self._assert_nothing_left()

    def _come_to_an_end(self) -> None:
        """Calls whose batches were lost are taken back; a product would send these batches once more after two seconds."""
        time.sleep(0.02)
        self.tiny.catch_up()
        time.sleep(0.02)
        for sent, cancellation in self.sent:
            if not sent.ends:
                self._cancel(sent, cancellation)
        for sent, _ in self.sent:
            assert sent.ended.wait(30), f"{sent.call} never ended"
        self.tiny.catch_up()
        eventually(all_given_back)

    def _assert_charged(self, customer: Customer) -> None:
        own = [sent for sent, _ in self.sent if sent.customer is customer]
        assert [sent.ends for sent in own] == [1] * len(own)
        answered = {
            sent.call.request_id: (sent.units, len(sent.answered), 0 if sent.call.fee_hold_id in self.unsettled else 1)
            for sent in own
            if sent.units
        }
        charged: dict[str, tuple[int, int, int]] = {}
        for record in patiently(lambda: ledger.records(customer.tenant)):
            units, inputs, requests = charged.get(record.body["request_id"], (0, 0, 0))
            more = record.body["inputs"], record.body["requests"]
            charged[record.body["request_id"]] = (units + record.units, inputs + more[0], requests + more[1])
        # What was taken back has two records, which come to nothing.
        assert {request_id: sums for request_id, sums in charged.items() if any(sums)} == answered
        assert patiently(lambda: ledger.holds(customer.tenant)) == 0
        if own:
            contract = own[0].call.contract
            decision = patiently(lambda: charging.peek(contract=contract, limits=contract.limits))
            remaining = {state.limit.name: state.remaining for state in decision.states}
            assert remaining["tight"] == TIGHT - sum(units for units, _, _ in answered.values())
            assert remaining["at once"] == AT_ONCE

    def _assert_nothing_left(self) -> None:
        assert REGISTRY.get_sample_value("mlplatform_calls_waiting") in {0.0, None}
        assert linger.open_calls() == 0
        for sent, _ in self.sent:
            for item in sent.call.items:
                assert single_flight.join(item.lease_key, clock.monotonic() + 1) is None, sent.call
        event_loop.call(leases.renew)
        eventually(lambda: not patiently(lambda: redis.cache().keys(store.CLAIM + b"*")))

    def _made(
        self, of_acme: bool, texts: list[str], kind: Kind, timeout_s: float, cache: CachePolicy
    ) -> tuple[Sent, Cancellation]:
        cancellation = Cancellation()
        number = next(self.numbers)
        several = len(texts) > 1
        sent = made(
            self.acme if of_acme else self.globex,
            *[f"new {number}.{place}" if text == "new" else text for place, text in enumerate(texts)],
            name=f"call-{number}",
            fee=kind.fee,
            whole=kind.whole,
            is_bulk=kind.is_bulk and several,
            timeout_s=timeout_s,
            cache=cache,
            cancellation=cancellation,
        )
        return sent, cancellation

    @staticmethod
    def _cancel(sent: Sent, cancellation: Cancellation) -> None:
        """As a face does whose caller is gone."""
        cancellation.cancel()
        event_loop.tell(partial(completion.give_up, sent.call))


@pytest.fixture
def machine(
    acme: Customer,
    globex: Customer,
    tiny_worker: TinyWorker,
    state_redis: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[type[Calls]]:
    tiny_worker.serve(make_version("large"))
    for customer in (acme, globex):
        rules: list[dict[str, Any]] = [
            {"name": "tight", "kind": LimitKind.FIXED_WINDOW, "amount": TIGHT, "window_s": AGES_S},
            {"name": "at once", "kind": LimitKind.CONCURRENCY, "counts": "requests", "amount": AT_ONCE},
        ]
        LimitRule.objects.bulk_create([LimitRule(plan=customer.plan, **fields) for fields in rules])
    contracts.forget_all()
    plans.forget()
    Calls.acme, Calls.globex, Calls.tiny, Calls.server = acme, globex, tiny_worker, state_redis
    Calls.unsettled = set()
    settle = on_loop.settle

    def noted(*, holds: Sequence[Settlement], done: Callable[[Settlements], None], **owner: int) -> None:
        def settled(outcome: Settlements) -> None:
            if isinstance(outcome, PlatformError):
                Calls.unsettled.update(hold.hold_id for hold in holds)
            done(outcome)

        settle(holds=holds, done=settled, **owner)

    monkeypatch.setattr(on_loop, "settle", noted)
    before = threading.active_count()
    yield Calls
    state_redis.resume()
    tiny_worker.go.set()
    assert threading.active_count() <= before + 8, "calls hold no threads"


@pytest.mark.property
def test_what_was_answered_is_charged_and_nothing_is_left(machine: type[Calls]) -> None:
    run_state_machine_as_test(
        machine, settings=examples(100, stateful_step_count=15, suppress_health_check=list(HealthCheck))
    )
