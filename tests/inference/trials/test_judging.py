"""When a canary must end, and when it must not."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.trials.judging import MAX_BUCKET, Bounds, Seen, bucket, milliseconds, verdict

BOUNDS = Bounds(max_error_rate=0.02, max_latency_ratio=2.0, min_calls=50)


def seen(calls: int = 100, errors: int = 0, ms: float | None = None, timed: int | None = None) -> Seen:
    timings = {bucket(ms): calls - errors if timed is None else timed} if ms is not None else {}
    return Seen(calls, errors, timings)


@pytest.mark.parametrize(
    ("canary", "live", "broken"),
    [
        (seen(100, 2), seen(), False),
        (seen(100, 3), seen(), True),
        (seen(49, 49), seen(), False),
        (seen(50, 50), Seen(), True),
        (Seen(), seen(), False),
        # Whatever fails both, such as workers that are away, is not the candidate's fault.
        (seen(100, 10), seen(100, 8), False),
        (seen(100, 20), seen(100, 8), True),
        (seen(ms=19), seen(ms=10), False),
        (seen(ms=23), seen(ms=10), True),
        (seen(ms=500, timed=49), seen(ms=10), False),
        (seen(ms=500), seen(ms=10, timed=49), False),
        (seen(ms=500), Seen(), False),
        (seen(ms=1), seen(ms=10), False),
    ],
)
def test_the_bounds(canary: Seen, live: Seen, broken: bool) -> None:
    assert bool(verdict(BOUNDS, canary, live)) is broken


def test_the_reason_has_the_numbers() -> None:
    assert "30 of 100 inputs failed (30.0%)" in verdict(BOUNDS, seen(100, 30), seen())
    slow = verdict(BOUNDS, seen(ms=80), seen(ms=20))
    assert "2 times is allowed" in slow
    assert "3.9" in slow or "4.0" in slow


@given(calls=st.integers(50, 10_000), errors=st.integers(0, 10_000), more=st.integers(0, 10_000))
def test_more_errors_never_make_it_better(calls: int, errors: int, more: int) -> None:
    errors = min(errors, calls)
    worse = min(errors + more, calls)
    if verdict(BOUNDS, Seen(calls, errors), seen()):
        assert verdict(BOUNDS, Seen(calls, worse), seen())


@given(calls=st.integers(0, 10_000), ms=st.floats(0.2, 60_000))
def test_an_equal_version_always_passes(calls: int, ms: float) -> None:
    same = Seen(calls, calls // 3, {bucket(ms): calls})
    assert verdict(BOUNDS, same, same) == ""


@given(ms=st.floats(0.125, 1_000_000))
def test_a_bucket_tells_a_latency_to_five_percent(ms: float) -> None:
    assert milliseconds(bucket(ms)) == pytest.approx(ms, rel=0.05)


@given(times=st.lists(st.floats(0.2, 100_000), min_size=1, max_size=50))
def test_the_median_of_a_histogram_is_near_the_median(times: list[float]) -> None:
    timings: dict[int, int] = {}
    for ms in times:
        timings[bucket(ms)] = timings.get(bucket(ms), 0) + 1
    found = Seen(len(times), 0, timings).median_ms
    assert found == pytest.approx(statistics.median_low(times), rel=0.05)


def test_what_is_out_of_range_is_counted_at_its_edges() -> None:
    assert (bucket(0), bucket(-1), bucket(1e12)) == (0, 0, MAX_BUCKET)
    assert Seen().median_ms is None
    assert Seen().error_rate == 0
