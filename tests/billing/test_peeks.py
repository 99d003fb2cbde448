"""A look at the limits from the event loop: what ends while it is under way shares it, and every ending has a declared answer."""

from collections.abc import Callable

import pytest
from prometheus_client import REGISTRY

from billing import charging, contracts, peeks
from billing.admission import Decision, on_loop
from billing.contracts import Contract
from mlplatform.lib import event_loop, redis
from tenants import api_keys
from tenants.authentication import authenticate
from tenants.guards import StaleCaller
from tests.conftest import Customer
from tests.inference.engine.wave_calls import count_this_month
from tests.support import ledger
from tests.support.on_loop import asked
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.django_db(transaction=True)

MANY = 50


@pytest.fixture
def contract(acme: Customer) -> Contract:
    count_this_month(acme)
    return contracts.contract_of(authenticate(acme.secret, address="192.0.2.1"))


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Who was looked for in Redis, one entry a look."""
    real = on_loop.admit
    subjects: list[object] = []

    def admit(admission: on_loop.Admission) -> None:
        subjects.append(admission.subject)
        real(admission)

    monkeypatch.setattr(on_loop, "admit", admit)
    return subjects


def of_many(contract: Contract) -> list[peeks.Found]:
    """What each of many that end in the same turn of the loop is told."""

    def ask(done: Callable[[list[peeks.Found]], None]) -> None:
        told: list[peeks.Found] = []

        def tell(limits: peeks.Found) -> None:
            told.append(limits)
            if len(told) == MANY:
                done(told)

        for _ in range(MANY):
            peeks.peek(contract, tell)

    return asked(ask)


def test_all_that_end_meanwhile_share_one_look(acme: Customer, contract: Contract, looks: list[object]) -> None:
    granted = REGISTRY.get_sample_value("mlplatform_admissions_total", {"outcome": "granted"})
    told = of_many(contract)
    assert looks == [contract.subject]
    direct = charging.peek(contract=contract, limits=contract.limits)
    for limits in told:
        assert isinstance(limits, Decision)
        assert [(each.limit, each.remaining) for each in limits.states] == [
            (each.limit, each.remaining) for each in direct.states
        ]
    assert ledger.holds(acme.tenant) == 0
    assert ledger.records(acme.tenant) == []
    assert REGISTRY.get_sample_value("mlplatform_admissions_total", {"outcome": "granted"}) == granted, "it is no call"
    of_many(contract)
    assert len(looks) == 2, "each look is over when it is answered"


def test_each_contract_has_a_look_of_its_own(
    contract: Contract, acme: Customer, globex: Customer, looks: list[object]
) -> None:
    count_this_month(globex)
    other = contracts.contract_of(authenticate(globex.secret, address="192.0.2.1"))
    told: list[peeks.Found] = []

    def ask(done: Callable[[peeks.Found], None]) -> None:
        peeks.peek(contract, told.append)
        peeks.peek(other, done)

    told.append(asked(ask))
    assert looks == [contract.subject, other.subject]
    assert [type(limits) for limits in told] == [Decision, Decision]


def test_a_lost_counter_of_the_month_is_made_anew(acme: Customer, contract: Contract) -> None:
    charging.peek(contract=contract, limits=contract.limits)
    redis.state().flushdb()
    for limits in of_many(contract):
        assert isinstance(limits, Decision)
        assert "included" in {state.limit.name for state in limits.states}


def test_a_redis_that_is_away_hides_no_answer(contract: Contract, state_redis: RedisServer) -> None:
    state_redis.kill()
    assert of_many(contract) == [None] * MANY
    state_redis.start()
    assert None not in of_many(contract)


def test_that_the_caller_has_changed_is_told(acme: Customer, contract: Contract) -> None:
    api_keys.changed(key=acme.key)
    assert {type(found) for found in of_many(contract)} == {StaleCaller}


def test_a_look_that_cannot_be_begun_keeps_no_answer_waiting(
    contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(on_loop, "admit", broken)
        assert of_many(contract) == [None] * MANY
    assert None not in of_many(contract)


def test_an_answer_that_cannot_be_handed_over_keeps_no_other(contract: Contract) -> None:
    def broken(_: object) -> None:
        raise ValueError

    def ask(done: Callable[[peeks.Found], None]) -> None:
        peeks.peek(contract, broken)
        peeks.peek(contract, done)

    assert asked(ask) is not None
    assert event_loop.call(lambda: 1) == 1
