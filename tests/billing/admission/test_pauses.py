"""A server that stands still at any moment, answers that are lost, and everything that was sent run in any order when it wakes.

Web processes and a worker do to real scripts what they do in the product: a call whose admission, settlement or release got no
answer is told "nothing was charged" and is voided until that is certain. Whatever the order, in the end a call that got its
answer is charged once, and one that was told "nothing was charged" is not, in the ledger and in the limits.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from billing import admission
from billing.admission import Charge, LimitKind, Settled, Settlement, connection, server_clock
from mlplatform.lib.errors import PlatformError
from tests.billing.admission.world import SECOND, SHARD, TENANT, World, limit, walked_clock
from tests.support.examples import examples
from tests.support.redis_server import RedisServer

MONTH = limit(LimitKind.MONTHLY, 1_000_000)
RUNNING = limit(LimitKind.CONCURRENCY, 1_000, counts="requests")
LIMITS = (MONTH, RUNNING)
PATIENCE_US = SECOND // 5
TTL_S = 45.0


class HeardClock:
    """The estimate of the server's clock, as it was when a command was sent: by it the server knows what is late."""

    sent_at: int | None = None

    def deadline_us(self, *, patience_s: float) -> int:
        return 0 if self.sent_at is None else self.sent_at + PATIENCE_US

    def learn(self, server_us: int, *, anew: bool = False) -> None:
        """It is walked by the test."""


@dataclass
class Call:
    """A call of some inputs, and what its caller knows: it waits, was answered, or was told that nothing was charged."""

    charges: tuple[Charge, ...]
    at_once: bool
    told: str = "waits"
    settled: set[str] = field(default_factory=set)

    @property
    def ids(self) -> list[str]:
        return [charge.hold_id for charge in self.charges]


class Pauses(RuleBasedStateMachine):
    """What was sent and not run waits in ``sockets``; what must be voided in ``owed``."""

    calls = Bundle("calls")
    server: RedisServer
    heard: HeardClock

    def __init__(self) -> None:
        super().__init__()
        self.client = self.server.client()
        self.world = World(self.client)
        self.world.peek(LIMITS)
        self.paused = False
        self.sockets: list[Callable[[], object]] = []
        self.owed: list[str] = []
        self.all: list[Call] = []
        self.stood_s = 0.0

    # --- The wire -------------------------------------------------------------------------------------------------------

    def send(self, command: Callable[[], object], *, lost: bool, known: bool = True) -> object | None:
        """The answer, or None when it did not come: the server stands still, or stopped between doing it and saying so."""
        sent_at = self.world.now if known else None

        def run() -> object:
            self.heard.sent_at = sent_at
            try:
                return command()
            finally:
                self.heard.sent_at = None

        if self.paused:
            self.sockets.append(run)
            return None
        answer = run()
        return None if lost else answer

    # --- What callers, web processes and workers do ---------------------------------------------------------------------

    @rule(
        target=calls,
        units=st.lists(st.integers(0, 9), min_size=1, max_size=3),
        at_once=st.booleans(),
        lost=st.booleans(),
        known=st.booleans(),
    )
    def call(self, units: list[int], at_once: bool, lost: bool, known: bool) -> Call:
        call = Call(tuple(self.world.charge(each) for each in units), at_once)
        self.all.append(call)

        def admit() -> object:
            return self.world.admit(LIMITS, *call.charges, ttl_s=TTL_S, settle_now=at_once)

        if self.send(admit, lost=lost, known=known) is None:
            self.tell_nothing_charged(call, owed=call.ids)
        elif at_once:
            call.told = "answered"
        return call

    @rule(call=calls, lost=st.booleans())
    def worker_settles(self, call: Call, lost: bool) -> None:
        """It settles and replies in one pipeline; who reads the reply has the answer."""

        def settle() -> tuple[Settled, ...]:
            pipe = connection.Pipeline(self.client)
            holds = [Settlement(name) for name in call.ids]
            deadline_us = self.heard.deadline_us(patience_s=0.2)
            admission.settle_commands(pipe, shard=SHARD, tenant_id=TENANT, holds=holds, deadline_us=deadline_us)
            return admission.parse_settled(pipe.execute()[0])

        answer = self.send(settle, lost=lost)
        if isinstance(answer, tuple) and call.told == "waits" and not call.at_once:
            assert answer[0] is not Settled.LATE
            self.answer(call, gone=Settled.GONE in answer)

    @rule(call=calls, lost=st.booleans())
    def web_settles(self, call: Call, lost: bool) -> None:
        """Cached inputs of a mixed batch, and its fee."""
        if call.told != "waits" or call.at_once:
            return
        answer = self.send(lambda: self.world.settle(*call.ids), lost=lost)
        if isinstance(answer, tuple):
            self.answer(call, gone=Settled.GONE in answer)
        else:
            self.give_up_for_good(call, lost=lost)

    @rule(call=calls, lost=st.booleans(), lost_again=st.booleans())
    def time_is_over(self, call: Call, lost: bool, lost_again: bool) -> None:
        if call.told != "waits":
            return
        released = self.send(lambda: self.world.release(*call.ids), lost=lost)
        if released is None:
            self.tell_nothing_charged(call, owed=call.ids)
        elif released:
            self.tell_nothing_charged(call, owed=[])
        else:  # settled, and its answer does not come
            self.give_up_for_good(call, lost=lost_again)

    @rule(lost=st.booleans())
    def debts_are_paid(self, lost: bool) -> None:
        owed = list(self.owed)
        if owed and self.send(lambda: self.world.void(*owed), lost=lost) is not None:
            self.owed = []

    def give_up_for_good(self, call: Call, *, lost: bool) -> None:
        done = self.send(lambda: self.world.void(*call.ids), lost=lost) is not None
        self.tell_nothing_charged(call, owed=[] if done else call.ids)

    def tell_nothing_charged(self, call: Call, *, owed: list[str]) -> None:
        call.told = "nothing was charged"
        self.owed += owed

    def answer(self, call: Call, *, gone: bool) -> None:
        # Holds that ended while the server stood still are answered and not charged; that is declared.
        call.told = "answered free" if gone else "answered"

    # --- Time -----------------------------------------------------------------------------------------------------------

    @rule()
    def server_stops(self) -> None:
        self.paused = True

    @rule(seconds=st.sampled_from([0.1, 0.3, 1.0, 44.0, 46.0, 300.0, 590.0]), data=st.data())
    def server_wakes(self, seconds: float, data: st.DataObject) -> None:
        if not self.paused:
            return
        seconds = min(seconds, 600.0 - self.stood_s)
        self.stood_s += seconds
        if seconds > 31.0:
            for call in self.all:
                if call.told == "waits":  # no call waits longer
                    self.tell_nothing_charged(call, owed=call.ids)
        self.world.pass_us(int(seconds * SECOND))
        self.paused = False
        sent, self.sockets = self.sockets, []
        for run in data.draw(st.permutations(sent)):
            with suppress(PlatformError):
                run()

    @rule(seconds=st.sampled_from([0.05, 1.0]))
    def time_passes(self, seconds: float) -> None:
        if not self.paused:
            self.world.pass_us(int(seconds * SECOND))
            if seconds >= 1.0:  # It is tried ten times a second.
                self.world.void(*self.owed)
                self.owed = []

    @rule()
    def clockwork(self) -> None:
        if not self.paused:
            self.world.sweep()

    # --- What must hold -------------------------------------------------------------------------------------------------

    @invariant()
    def nothing_is_wrong_that_is_not_owed(self) -> None:
        if not self.paused:
            charged = dict(self.world.usage())
            assert len(charged) == len(self.world.usage())
            for call in self.all:
                for charge in call.charges:
                    if call.told == "answered":
                        assert charged.get(charge.hold_id) == charge.units
                    elif call.told == "nothing was charged" and charge.hold_id not in self.owed:
                        assert charge.hold_id not in charged

    def teardown(self) -> None:
        if self.paused:
            self.world.pass_us(SECOND)
            self.paused = False
            for run in self.sockets:
                with suppress(PlatformError):
                    run()
        self.world.void(*self.owed)
        self.owed = []
        self.nothing_is_wrong_that_is_not_owed()
        self.world.pass_us(int(TTL_S) * SECOND)
        self.world.sweep()
        spent = sum(units for _, units in self.world.usage())
        assert self.world.remaining(*LIMITS) == [1_000_000 - spent, 1_000]
        self.client.close()


@pytest.fixture
def machine(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Pauses]]:
    Pauses.server, Pauses.heard = server, HeardClock()
    monkeypatch.setattr(server_clock, "OF_STATE", Pauses.heard)
    with walked_clock():
        yield Pauses


@pytest.mark.property
def test_a_pause_at_any_moment_leaves_every_call_charged_as_it_was_told(machine: type[Pauses]) -> None:
    run_state_machine_as_test(
        machine,
        settings=examples(100, stateful_step_count=30, suppress_health_check=list(HealthCheck)),
    )
