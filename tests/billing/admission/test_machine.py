"""Admissions, retries, settlements, releases, voids and expiries in any order, against a ledger kept in Python."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
    run_state_machine_as_test,
)

from billing.admission import Charge, LimitKind, Settled, Settlement
from mlplatform.lib.errors import ErrorKind, PlatformError
from tests.billing.admission.world import SECOND, World, limit, walked_clock
from tests.support.examples import examples
from tests.support.redis_server import RedisServer

MONTH = limit(LimitKind.MONTHLY, 300)
DAY_LONG = limit(LimitKind.FIXED_WINDOW, 250, window_s=86_400)
REQUESTS = limit(LimitKind.SLIDING_WINDOW, 12, counts="requests", window_s=86_400)
RUNNING = limit(LimitKind.CONCURRENCY, 4, counts="requests")
LIMITS = (MONTH, DAY_LONG, REQUESTS, RUNNING)
TTL_S = 30
MARK_S = 60
LEFT_S = 600


@dataclass
class Known:
    """What the ledger knows of a hold id: ``held``, ``settled`` or ``released``, and until when it holds, or from when on it
    may be forgotten."""

    status: str
    units: int
    until: int


class Holds(RuleBasedStateMachine):
    """The script and the ledger must agree after every step."""

    calls = Bundle("calls")
    client_server: RedisServer

    def __init__(self) -> None:
        super().__init__()
        self.client = self.client_server.client()
        self.world = World(self.client)
        self.known: dict[str, Known] = {}
        self.usage: list[tuple[str, int]] = []
        self.requests_spent = 0
        self.last_look = 0

    def teardown(self) -> None:
        self.client.close()

    @rule(target=calls, units=st.lists(st.integers(0, 60), min_size=1, max_size=3), at_once=st.booleans())
    def call(self, units: list[int], at_once: bool) -> tuple[tuple[Charge, ...], bool]:
        charges = tuple(self.world.charge(each) for each in units)
        self.admit(charges, at_once)
        return charges, at_once

    @rule(call=calls)
    def retry(self, call: tuple[tuple[Charge, ...], bool]) -> None:
        self.admit(*call)

    @rule(call=calls, data=st.data())
    def settle(self, call: tuple[tuple[Charge, ...], bool], data: st.DataObject) -> None:
        charge = data.draw(st.sampled_from(call[0]))
        used = data.draw(st.one_of(st.none(), st.integers(0, 70)))
        known = self.known.get(charge.hold_id)
        answer = self.world.settle(Settlement(charge.hold_id, used))
        if known is None or known.status == "released":
            assert answer == (Settled.GONE,)
        elif known.status == "settled":
            assert answer == (Settled.BEFORE,)
        else:
            assert answer == (Settled.NOW,)
            spent = known.units if used is None else min(used, known.units)
            self.usage.append((charge.hold_id, spent))
            self.requests_spent += 1
            self.remember(charge.hold_id, "settled", spent)

    @rule(call=calls)
    def release(self, call: tuple[tuple[Charge, ...], bool]) -> None:
        ids = [charge.hold_id for charge in call[0]]
        uncharged = [name for name in ids if name in self.known and self.known[name].status in {"held", "released"}]
        assert self.world.release(*ids) == len(uncharged)
        for name in ids:
            if name not in self.known or self.known[name].status != "settled":
                self.remember(name, "released", 0)

    @rule(call=calls)
    def void(self, call: tuple[tuple[Charge, ...], bool]) -> None:
        ids = [charge.hold_id for charge in call[0]]
        settled = [name for name in ids if name in self.known and self.known[name].status == "settled"]
        assert self.world.void(*ids) == len(settled)
        self.usage = [(name, units) for name, units in self.usage if name not in settled]
        self.requests_spent -= len(settled)
        for name in ids:
            self.remember(name, "released", 0)

    @rule(seconds=st.integers(1, 40))
    def time_passes(self, seconds: int) -> None:
        self.world.pass_us(seconds * SECOND)
        self.forget_marks(due=self.world.now - LEFT_S * SECOND)  # admissions, to which looks at the limits belong
        for name in [name for name, known in self.known.items() if known.status == "held"]:
            if self.known[name].until <= self.world.now:
                del self.known[name]

    @rule()
    def clockwork(self) -> None:
        self.world.sweep()
        if self.world.now - self.last_look >= 10 * SECOND:
            self.forget_marks(due=self.last_look)
            self.last_look = self.world.now

    def forget_marks(self, *, due: int) -> None:
        for name in [name for name, known in self.known.items() if known.status != "held" and known.until <= due]:
            del self.known[name]

    @rule(call=consumes(calls))
    def forget(self, call: tuple[tuple[Charge, ...], bool]) -> None:
        """The caller dies: its holds are neither settled nor released."""

    @invariant()
    def ledger_agrees(self) -> None:
        held = [known for known in self.known.values() if known.status == "held"]
        spent = sum(units for _, units in self.usage) + sum(known.units for known in held)
        requests = self.requests_spent + len(held)
        assert self.world.remaining(*LIMITS) == [300 - spent, 250 - spent, 12 - requests, 4 - len(held)]
        assert self.world.usage() == self.usage
        assert self.world.holds() == {name for name, known in self.known.items() if known.status == "held"}

    def admit(self, charges: tuple[Charge, ...], at_once: bool) -> None:
        statuses = [self.known[charge.hold_id].status for charge in charges if charge.hold_id in self.known]
        fits = self.fits(charges, at_once)
        if "released" in statuses or 0 < len(statuses) < len(charges):
            with pytest.raises(PlatformError) as caught:
                self.world.admit(LIMITS, *charges, ttl_s=TTL_S, settle_now=at_once)
            assert caught.value.kind is ErrorKind.CONFLICT
            return
        granted = self.world.admit(LIMITS, *charges, ttl_s=TTL_S, settle_now=at_once).granted
        if statuses:
            assert granted
            return
        assert granted is fits
        if granted:
            for charge in charges:
                self.remember(charge.hold_id, "settled" if at_once else "held", charge.units)
                if at_once:
                    self.usage.append((charge.hold_id, charge.units))
                    self.requests_spent += 1

    def fits(self, charges: tuple[Charge, ...], at_once: bool) -> bool:
        held = [known for known in self.known.values() if known.status == "held"]
        spent = sum(units for _, units in self.usage) + sum(known.units for known in held)
        units = sum(charge.units for charge in charges)
        return (
            (units == 0 or spent + units <= 250)
            and self.requests_spent + len(held) + len(charges) <= 12
            and (at_once or len(held) + len(charges) <= 4)
        )

    def remember(self, name: str, status: str, units: int) -> None:
        seconds = TTL_S if status == "held" else MARK_S
        self.known[name] = Known(status, units, self.world.now + seconds * SECOND)


@pytest.fixture
def machine(server: RedisServer) -> Iterator[type[Holds]]:
    Holds.client_server = server
    with walked_clock():
        yield Holds


@pytest.mark.property
def test_any_order_of_admissions_retries_settlements_releases_voids_and_expiries(machine: type[Holds]) -> None:
    run_state_machine_as_test(
        machine,
        settings=examples(60, stateful_step_count=30, suppress_health_check=list(HealthCheck)),
    )
