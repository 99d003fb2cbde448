"""The limit that a caller is told when it is told one is the limit that stops it, if it goes on calling as it did."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from billing.admission import Charge, Decision, Limit, LimitKind, tightest
from tests.billing.admission.world import World, limit
from tests.support.examples import examples

BURST = limit(LimitKind.TOKEN_BUCKET, 10, rate=0.001)
MONTH = limit(LimitKind.MONTHLY, 1_000_000)
RUNNING = limit(LimitKind.CONCURRENCY, 2, counts="requests")
_COUNTED = [kind for kind in LimitKind if kind is not LimitKind.CONCURRENCY]


def test_a_small_bucket_is_tighter_than_a_large_month_from_the_first_call_to_the_last(world: World) -> None:
    assert tightest(world.peek([MONTH, BURST])).limit is BURST
    for left in range(9, -1, -1):
        state = tightest(world.spend([MONTH, BURST], 1))
        assert (state.limit, state.remaining) == (BURST, left)
    refused = world.spend([MONTH, BURST], 1)
    assert not refused.granted
    assert tightest(refused).limit is BURST


def test_the_price_of_the_call_decides(world: World) -> None:
    requests = limit(LimitKind.FIXED_WINDOW, 50, counts="requests")
    units = limit(LimitKind.SLIDING_WINDOW, 100)
    assert tightest(world.spend([requests, units], 1)).limit is requests
    assert tightest(world.spend([requests, units], 5)).limit is units
    assert tightest(world.spend([requests, units], 0)).limit is requests, "what costs nothing is taken for one unit"
    assert tightest(world.peek([requests, units])).limit is requests


def test_only_what_names_a_model_takes_from_its_limit(world: World) -> None:
    model = limit(LimitKind.FIXED_WINDOW, 40, id="model:large", scope="model", subject="large")
    tenant = limit(LimitKind.SLIDING_WINDOW, 100)
    of_both = world.spend([model, tenant], world.charge(9, model="small"), world.charge(1, model="large"))
    assert tightest(of_both).limit is tenant, "of 10 units a call the model's limit counts one"
    assert tightest(world.spend([model, tenant], world.charge(10, model="large"))).limit is model


def test_of_equals_the_one_that_is_whole_again_last(world: World) -> None:
    soon = limit(LimitKind.FIXED_WINDOW, 25, id="a", window_s=60)
    late = limit(LimitKind.FIXED_WINDOW, 29, id="b", window_s=3600)
    for limits in ([soon, late], [late, soon]):
        world.start_over()
        assert tightest(world.spend(limits, 5)).limit is late


def test_running_calls_give_their_place_back(world: World) -> None:
    """So their limit stops no caller that calls one after the other, and is told while it stops the next call."""
    first = world.admit([RUNNING, BURST], 1)
    assert tightest(first).limit is BURST
    assert tightest(world.admit([RUNNING, BURST], 1)).limit is BURST
    assert tightest(world.peek([RUNNING, BURST])).limit is RUNNING
    assert tightest(world.admit([RUNNING, BURST], 1)).limit is RUNNING
    world.release(*first.hold_ids)
    assert tightest(world.peek([RUNNING, BURST])).limit is BURST


def test_of_limits_on_running_calls_alone_the_fullest_is_told(world: World) -> None:
    wide = limit(LimitKind.CONCURRENCY, 9, id="wide", counts="requests")
    assert tightest(world.admit([wide, RUNNING], 1)).limit is RUNNING


def test_a_refusal_tells_what_it_waits_for_longest(world: World) -> None:
    minute, hour = limit(LimitKind.FIXED_WINDOW, 3), limit(LimitKind.SLIDING_WINDOW, 3, window_s=3600)
    world.spend([minute, hour], 3)
    refused = world.spend([minute, hour, MONTH], 1)
    assert tightest(refused).limit is hour
    assert tightest(refused).wait_s == refused.wait_s


def test_without_limits_there_is_no_tightest_one(world: World) -> None:
    with pytest.raises(ValueError, match="without limits"):
        tightest(world.spend([], 1))


@st.composite
def _limits(draw: st.DrawFn) -> list[Limit]:
    kinds = draw(st.lists(st.sampled_from(_COUNTED), min_size=1, max_size=4))
    made = []
    for number, kind in enumerate(kinds):
        fields: dict[str, Any] = {"id": f"limit{number}", "name": f"limit{number}"}
        fields["counts"] = draw(st.sampled_from(["units", "requests"]))
        if draw(st.booleans()):
            fields |= {"scope": "model", "subject": draw(st.sampled_from(["sentiment", "minilm"]))}
        made.append(limit(kind, draw(st.integers(1, 60)), **fields))
    return made


@st.composite
def _prices(draw: st.DrawFn) -> list[tuple[str, int]]:
    """A call: for each of its inputs the model and the units."""
    return draw(
        st.lists(st.tuples(st.sampled_from(["sentiment", "minilm"]), st.integers(1, 12)), min_size=1, max_size=3)
    )


@examples(80, suppress_health_check=list(HealthCheck))
@given(limits=_limits(), price=_prices())
def test_a_caller_that_goes_on_at_this_price_is_stopped_by_the_limit_that_was_told(
    world: World, limits: list[Limit], price: list[tuple[str, int]]
) -> None:
    """On a clock that stands still, so that nothing is refilled: the limit that was told first, and at every call, refuses."""
    world.start_over()
    concerned = [each for each in limits if each.scope != "model" or each.subject in {model for model, _ in price}]
    if not concerned:
        return
    told: set[str] = set()
    decision = _call(world, concerned, price)
    while decision.granted:
        told.add(tightest(decision).limit.id)
        decision = _call(world, concerned, price)
    refusing = {state.limit.id for state in decision.states if state.refused}
    assert told <= refusing
    assert tightest(decision).limit.id in refusing


def _call(world: World, limits: list[Limit], price: list[tuple[str, int]]) -> Decision:
    charges: list[Charge] = [
        world.charge(
            units,
            model=model,
            requests=1 if number == 0 else 0,
            model_requests=0 if model in {before for before, _ in price[:number]} else 1,
        )
        for number, (model, units) in enumerate(price)
    ]
    return world.spend(limits, *charges)
