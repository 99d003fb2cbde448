"""What a batch takes is learned from batches: a part that is fixed, and a part for each token."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.batching import policy
from inference.batching.speed import Speed

seconds = st.floats(0.0001, 10)


def learned(*batches: tuple[int, float]) -> Speed:
    speed = Speed()
    for tokens, compute_s in batches:
        speed.learn(compute_s=compute_s, tokens=tokens, inputs=1 + tokens // 5)
    return speed


def test_the_parts_are_told_apart_by_batches_of_different_sizes() -> None:
    speed = learned(*[(tokens, 0.02 + 0.01 * tokens) for tokens in (1, 2, 4, 3, 1, 5)])
    assert speed.fixed_s == pytest.approx(0.02)
    assert speed.more_s == pytest.approx(0.01)
    assert speed.batch_s(10) == pytest.approx(0.12)
    assert speed.token_s > 0.01, "the mean has its part of what is fixed"


def test_batches_of_one_size_tell_the_mean_alone() -> None:
    speed = learned(*[(4, 0.06)] * 5)
    assert (speed.fixed_s, speed.more_s) == (0.0, 0.0)
    assert speed.batch_s(8) == pytest.approx(2 * 0.06)


def test_what_was_told_apart_stays_while_batches_are_alike() -> None:
    speed = learned((1, 0.03), (3, 0.05), (1, 0.03), (3, 0.05), *[(3, 0.05)] * 100)
    assert speed.batch_s(1) == pytest.approx(0.03)
    assert speed.batch_s(3) == pytest.approx(0.05)


def test_a_batch_that_a_busy_machine_held_up_does_not_make_all_of_it_fixed() -> None:
    speed = learned(*[(tokens, 0.02 + 0.01 * tokens) for tokens in (1, 2, 4, 3)], (1, 3.0))
    assert speed.fixed_s <= 0.04


def test_a_machine_that_became_slower_is_followed() -> None:
    fast = [(tokens, 0.002 + 0.001 * tokens) for tokens in (1, 2, 4, 3)]
    slow = [(tokens, 0.02 + 0.01 * tokens) for tokens in (1, 2, 4, 3)]
    assert learned(*fast, *slow * 20).fixed_s == pytest.approx(0.02, rel=0.1)


@given(st.lists(st.tuples(st.integers(1, 10_000), seconds), max_size=30))
def test_it_is_never_negative_and_a_larger_batch_takes_longer(batches: list[tuple[int, float]]) -> None:
    speed = learned(*batches)
    assert speed.fixed_s >= 0
    assert speed.more_s >= 0
    for tokens in (1, 10, 1000):
        assert speed.batch_s(tokens + 1) >= speed.batch_s(tokens) >= 0
    if batches:
        assert speed.batch_s(1) > 0


def test_what_took_no_time_or_had_no_tokens_tells_nothing() -> None:
    assert learned((0, 1.0), (3, 0.0)) == Speed()


def test_a_shared_batch_is_short_but_may_take_three_times_what_one_input_takes() -> None:
    sizes = (1, 2, 4, 3)
    quick = learned(*[(tokens, 0.005 + 0.01 * tokens) for tokens in sizes])
    slow = learned(*[(tokens, 0.1 + 0.01 * tokens) for tokens in sizes])
    mean = slow.alone_s - 0.1
    assert 0.02 < mean < 0.03, "an input has between two and three tokens"
    assert policy.shared_batch_s(0.2, quick) == 0.2
    assert policy.shared_batch_s(0.2, slow) == pytest.approx(3 * (0.1 + mean))
    assert policy.shared_batch_s(0.0, slow) == 0.0
    assert policy.shared_batch_s(0.2, Speed()) == 0.2


def test_a_shared_batch_stays_short_where_a_larger_one_gains_nothing() -> None:
    speed = learned(*[(tokens, 0.1 * tokens) for tokens in (1, 2, 4, 3)])
    assert policy.shared_batch_s(0.05, speed) == 0.05
