"""A refusal says what was needed, what was left, who set it and when it passes."""

import re

import pytest

from billing import charging, contracts
from billing.admission import Charge, Decision
from billing.charging import Refused
from billing.contracts import Contract
from billing.models import LimitKind, LimitRule
from mlplatform.lib.errors import ErrorKind
from mlplatform.lib.ids import hex_id
from tenants.authentication import authenticate
from tests.conftest import Customer
from tests.support import ledger
from tests.support.windows import AGES_S


@pytest.fixture
def contract(acme: Customer) -> Contract:
    LimitRule.objects.update(amount=20, rate=0.0001)
    LimitRule.objects.create(
        plan=acme.plan, name="calls", kind=LimitKind.FIXED_WINDOW, counts="requests", amount=2, window_s=AGES_S
    )
    LimitRule.objects.create(
        plan=acme.plan, name="large", kind=LimitKind.MONTHLY, scope="model", model="large", amount=15
    )
    return contracts.contract_of(authenticate(acme.secret, address="192.0.2.1"))


def spend(contract: Contract, *charges: tuple[str, int]) -> Decision:
    return charging.charge(
        contract=contract,
        limits=contract.limits_for({model for model, _ in charges}),
        charges=[
            Charge(hex_id(), model, units, 1 if number == 0 else 0, b"record")
            for number, (model, units) in enumerate(charges)
        ],
        request_id="req",
        hold_ttl_s=30,
        settle_now=True,
    )


def refusal(contract: Contract, *charges: tuple[str, int]) -> Refused:
    with pytest.raises(Refused) as caught:
        spend(contract, *charges)
    return caught.value


def test_what_is_granted_is_a_decision_with_every_state(contract: Contract) -> None:
    decision = spend(contract, ("small", 5), ("large", 5))
    assert {state.limit.name: state.remaining for state in decision.states} == {
        "burst": 10, "calls": 1, "large": 10, "included": 999_990,
    }  # fmt: skip


def test_the_longest_wait_is_explained(contract: Contract) -> None:
    spend(contract, ("small", 12))
    error = refusal(contract, ("small", 10))
    assert (error.kind, error.extra) == (ErrorKind.QUOTA_EXCEEDED, {"violated-policies": ["burst"]})
    assert "'burst' of 20 units, set by plan Plan of acme, has 8 left and this call needs 10" in error.detail
    assert re.search(r"It passes in (20,000|19,9\d\d) s\.$", error.detail), "and not in 2e+04 s"
    assert error.retry_after_s == error.decision.wait_s


def test_requests_and_models_are_counted_as_the_limit_counts_them(contract: Contract) -> None:
    for _ in range(2):
        spend(contract, ("small", 0), ("small", 0))
    error = refusal(contract, ("small", 0), ("small", 0))
    assert error.extra == {"violated-policies": ["calls"]}
    assert "has 0 left and this call needs 1." in error.detail


def test_what_can_never_pass_says_so(contract: Contract) -> None:
    error = refusal(contract, ("large", 10), ("large", 6), ("small", 3))
    assert (error.kind, error.retry_after_s) == (ErrorKind.CHARGE_TOO_LARGE, None)
    assert "needs 16 units, more than the limit 'large' (15, set by plan Plan of acme)" in error.detail


def test_a_refusal_takes_nothing(acme: Customer, contract: Contract) -> None:
    refusal(contract, ("small", 21))
    ledger.assert_untouched(acme)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0001, "0.01 s"), (0.25, "0.25 s"), (9.991, "10 s"), (10.2, "11 s"), (1_209_599.5, "1,209,600 s")],
)
def test_a_wait_is_never_said_too_short(seconds: float, text: str) -> None:
    assert charging.duration(seconds) == text
