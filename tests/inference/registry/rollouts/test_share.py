"""Who is in a canary's share: as many as it says, always the same ones, and more of them as it grows."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.registry.rollouts import share

TENANTS = range(1, 20_001)


def taken(rollout_id: int, percent: int) -> set[int]:
    return {one for one in TENANTS if share.takes(rollout_id=rollout_id, percent=percent, tenant_id=one)}


@pytest.mark.parametrize("percent", [1, 5, 20, 50, 99])
@pytest.mark.parametrize("rollout_id", [1, 17])
def test_the_share_of_many_tenants_is_within_binomial_bounds(percent: int, rollout_id: int) -> None:
    expected = len(TENANTS) * percent / 100
    deviation = math.sqrt(expected * (1 - percent / 100))
    assert abs(len(taken(rollout_id, percent)) - expected) < 4.5 * deviation


def test_other_rollouts_take_other_tenants() -> None:
    both = taken(1, 20) & taken(2, 20)
    expected = len(TENANTS) * 0.2 * 0.2
    assert abs(len(both) - expected) < 4.5 * math.sqrt(expected)


@given(
    rollout_id=st.integers(1, 2**63), tenant_id=st.integers(1, 2**63), low=st.integers(0, 100), high=st.integers(0, 100)
)
def test_who_is_in_stays_in_while_the_share_grows(rollout_id: int, tenant_id: int, low: int, high: int) -> None:
    low, high = sorted((low, high))
    if share.takes(rollout_id=rollout_id, percent=low, tenant_id=tenant_id):
        assert share.takes(rollout_id=rollout_id, percent=high, tenant_id=tenant_id)
    assert share.takes(rollout_id=rollout_id, percent=100, tenant_id=tenant_id)
    assert not share.takes(rollout_id=rollout_id, percent=0, tenant_id=tenant_id)
