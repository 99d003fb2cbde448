"""Places for calls that wait: some are always left, and nobody takes more than a share while others come."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.engine.permits import Permits
from mlplatform.lib.errors import ErrorKind, PlatformError

STEPS = st.lists(st.tuples(st.sampled_from(["take", "give"]), st.integers(1, 5)), max_size=200)


def took(slots: Permits, tenant_id: int, weight: int = 1) -> bool:
    try:
        slots.take(tenant_id, weight=weight)
    except PlatformError:
        return False
    return True


@given(st.integers(1, 40), STEPS)
def test_never_more_than_there_are_and_never_none_for_a_newcomer_below_the_reserve(
    total: int, steps: list[tuple[str, int]]
) -> None:
    slots, held = Permits(total), Counter[int]()
    for step, tenant_id in steps:
        if step == "take":
            held[tenant_id] += took(slots, tenant_id)
        elif held[tenant_id]:
            slots.give(tenant_id)
            held[tenant_id] -= 1
        assert sum(held.values()) <= slots.total
    newcomer = 99
    if sum(held.values()) < slots.total:
        assert took(slots, newcomer), "whoever has nothing gets a place while there is one"


def test_one_tenant_alone_leaves_a_quarter_to_who_comes_next() -> None:
    slots = Permits(40)
    alone = sum(took(slots, 1) for _ in range(100))
    assert alone == 30
    assert sum(took(slots, 2) for _ in range(100)) == 10
    assert not took(slots, 3)
    slots.give(1)
    assert took(slots, 3)
    assert not took(slots, 1)


def test_a_heavier_tenant_may_take_more_of_the_reserve() -> None:
    light, heavy = Permits(40), Permits(40)
    for slots in (light, heavy):
        for _ in range(30):
            slots.take(1, weight=1)
    first = sum(took(light, 2, weight=1) for _ in range(5)) + sum(took(light, 3, weight=1) for _ in range(40))
    assert first == 10
    assert sum(took(heavy, 2, weight=9) for _ in range(40)) == 10


def test_a_place_that_was_not_given_cannot_be_taken_twice() -> None:
    slots = Permits(1)
    slots.take(1, weight=1)
    with pytest.raises(PlatformError) as caught:
        slots.take(2, weight=1)
    assert (caught.value.kind, caught.value.retry_after_s) == (ErrorKind.OVERLOADED, 1.0)
    slots.give(1)
    slots.take(2, weight=1)
