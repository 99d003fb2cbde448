"""How long waves linger: not with few calls, not on a machine at ease, and not for an answer that is at hand."""

import asyncio
from collections.abc import Sequence

import pytest

from inference.engine import linger, waves
from inference.types import CachePolicy
from mlplatform.lib import event_loop
from tests.conftest import Customer
from tests.inference.engine.test_predict import eventually
from tests.inference.engine.wave_calls import Runs, Sent, count_this_month, join, made, together
from tests.support import ledger
from tests.support.tiny_model import TinyWorker, make_version

pytestmark = pytest.mark.usefixtures("prices")

BUSY_S, EASY_S = 0.002, 0.0003
"""What the round trips of a wave take."""


def take(seconds: float) -> None:
    for _ in range(100):
        linger.landed(seconds)


def opened(calls: int) -> None:
    linger.forget()
    linger.begun(calls)


def pause_s(gathered: int) -> float:
    return linger.pause_s(gathered=gathered, newcomers=[])


def test_twice_as_long_as_round_trips_take() -> None:
    opened(10)
    take(BUSY_S)
    assert pause_s(1) == pytest.approx(2 * BUSY_S, rel=0.01)
    take(EASY_S)
    assert pause_s(1) == 0


def test_no_longer_than_five_milliseconds_however_slow_redis_is() -> None:
    opened(10)
    take(0.2)
    assert pause_s(1) == 0.005


def test_few_open_calls_are_not_worth_waiting_for() -> None:
    opened(3)
    take(BUSY_S)
    assert pause_s(1) == 0
    linger.begun(1)
    assert pause_s(1) > 0
    linger.ended()
    assert pause_s(1) == 0


@pytest.mark.parametrize(("calls", "enough"), [(4, 3), (16, 9), (64, 16), (1000, 16)])
def test_when_enough_have_gathered(calls: int, enough: int) -> None:
    opened(calls)
    take(BUSY_S)
    assert [pause_s(gathered) > 0 for gathered in (enough - 1, enough)] == [True, False]


# --- Waves -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def busy(acme: Customer, tiny_worker: TinyWorker, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Eight calls wait for a worker, of a machine on which a wave lingers until something else lets it leave."""
    tiny_worker.serve(make_version("large"))
    count_this_month(acme)
    assert together(made(acme, "known")) == [None]
    tiny_worker.go.clear()
    join(*[made(acme, f"open {number}") for number in range(8)])
    eventually(lambda: ledger.holds(acme.tenant) == 8)
    monkeypatch.setattr(linger, "LONGEST_S", 60.0)
    event_loop.call(lambda: take(30.0))
    return Runs(monkeypatch)


def sizes_after(runs: Runs, *steps: Sequence[Sent]) -> list[int]:
    """How many runs there were a few turns of the loop after each step."""

    async def turns() -> list[int]:
        seen = []
        for step in steps:
            waves.join([sent.call for sent in step])
            for _ in range(3):
                await asyncio.sleep(0)
            seen.append(len(runs))
        return seen

    return asyncio.run_coroutine_threadsafe(turns(), event_loop.get()).result(30)


def released(tiny_worker: TinyWorker, *sent: Sent) -> None:
    tiny_worker.go.set()
    assert [each.problem for each in sent] == [None] * len(sent)
    eventually(lambda: linger.open_calls() == 0)


def test_a_lone_call_lingers_until_enough_have_gathered(acme: Customer, busy: Runs, tiny_worker: TinyWorker) -> None:
    first = made(acme, "first")
    others = [made(acme, f"other {number}") for number in range(8)]
    # Of 17 open calls in the end nine are enough, more than half.
    assert sizes_after(busy, [first], others[:7]) == [0, 0]
    join(others[7])
    released(tiny_worker, first, *others)
    assert busy.sizes == [9]


def test_a_call_whose_answer_is_at_hand_takes_the_others_along(
    acme: Customer, busy: Runs, tiny_worker: TinyWorker
) -> None:
    first, known = made(acme, "first"), made(acme, "known")
    assert sizes_after(busy, [first])[0] == 0
    join(known)
    assert known.problem is None
    assert {run.request_id for run in busy} == {"first", "known"}
    released(tiny_worker, first)


def test_a_fresh_answer_is_not_at_hand(acme: Customer, busy: Runs, tiny_worker: TinyWorker) -> None:
    fresh, known = made(acme, "known", cache=CachePolicy(read=False)), made(acme, "known", name="again")
    assert sizes_after(busy, [fresh]) == [0]
    join(known)
    released(tiny_worker, fresh, known)


def test_time_lets_it_leave(
    acme: Customer, busy: Runs, tiny_worker: TinyWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linger, "LONGEST_S", 0.005)
    first = made(acme, "first")
    join(first)
    eventually(lambda: busy.sizes == [1])
    released(tiny_worker, first)
