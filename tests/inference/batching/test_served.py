"""How many workers tenants kept busy lately: sums that fade."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.batching.served import Served


def test_what_others_got_counts_and_what_the_tenant_got_does_not() -> None:
    served = Served()
    assert served.busy_for_others(1, 0.0) == 0
    for step in range(1, 200):
        served.add({1: 0.03, 2: 0.05}, step / 10)
    assert served.busy_for_others(1, 20.0) == pytest.approx(0.5, rel=0.1), "50 ms of each 100"
    assert served.busy_for_others(2, 20.0) == pytest.approx(0.3, rel=0.1)
    assert served.busy_for_others(3, 20.0) == pytest.approx(0.8, rel=0.1), "to a tenant that comes now both are others"


def test_it_follows_a_tenant_that_stops() -> None:
    served = Served()
    for step in range(100):
        served.add({2: 0.1}, step / 10)
    busy = served.busy_for_others(1, 10.0)
    assert served.busy_for_others(1, 12.0) == pytest.approx(busy / math.e)
    assert served.busy_for_others(1, 40.0) < 0.001


@given(st.lists(st.tuples(st.integers(1, 4), st.floats(0.0, 1.0), st.floats(0.0, 3.0)), max_size=60))
def test_the_parts_are_never_more_than_all(batches: list[tuple[int, float, float]]) -> None:
    served, now = Served(), 0.0
    for tenant, seconds, pause in batches:
        now += pause
        served.add({tenant: seconds}, now)
    everything = served.busy_for_others(99, now)
    others = [served.busy_for_others(tenant, now) for tenant in range(1, 5)]
    assert all(0 <= each <= everything + 1e-9 for each in others)
    assert sum(everything - each for each in others) == pytest.approx(everything, abs=1e-6)


def test_tenants_that_have_gone_are_forgotten() -> None:
    served = Served()
    for tenant in range(1_500):
        served.add({tenant: 0.001}, float(tenant))
    assert len(served._tenants) < 1_001
