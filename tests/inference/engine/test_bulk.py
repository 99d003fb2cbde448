"""Calls of more inputs than are held one by one: one charge for all of them or none, and turns for everybody else."""

from collections.abc import Sequence
from typing import Any

import pytest
from pytest_django import Settings

from billing.admission import on_loop
from inference.batching.current import batcher
from inference.batching.policy import size_of
from inference.calls import all_or_nothing
from inference.calls.all_or_nothing import WholeAnswer
from inference.engine import predict as prediction
from inference.engine import works
from inference.engine.shared_holds import MOST_HELD_APART
from inference.models import ModelVersion
from inference.types import REFUSE, TO_LIMIT, CachePolicy, CallContext, ModelRef, PredictRequest, TextLength
from mlplatform.lib.errors import ErrorKind, PlatformError, unavailable
from mlplatform.lib.ids import hex_id
from tenants import authentication
from tenants.authentication import Caller
from tests.conftest import Customer, make_customer
from tests.support import ledger, waiting
from tests.support.redis_server import RedisServer
from tests.support.tiny_model import POISON, TinyWorker, make_version

pytestmark = pytest.mark.usefixtures("prices")

MANY = 2 * MOST_HELD_APART + 88
FEE = 50


@pytest.fixture(autouse=True)
def tiny(tiny_worker: TinyWorker) -> TinyWorker:
    tiny_worker.serve(make_version())
    return tiny_worker


def texts(count: int, word: str = "text") -> list[str]:
    return [f"{word} {number}" for number in range(count)]


def arguments(
    customer: Customer, given: list[str], *, timeout_s: float = 30.0, truncate: int = REFUSE, **cache: Any
) -> tuple[Caller, list[PredictRequest], CallContext]:
    context = CallContext(
        request_id=hex_id(), operation="batch", api_version="openai", timeout_s=timeout_s, cache=CachePolicy(**cache)
    )
    requests = [
        PredictRequest(model="tiny", input=text, field=f"input[{n}]", truncate=truncate) for n, text in enumerate(given)
    ]
    return authentication.authenticate(customer.secret, address="127.0.0.1"), requests, context


def ask(customer: Customer, given: list[str], **more: Any) -> WholeAnswer:
    return all_or_nothing.predict_whole(*arguments(customer, given, **more))


def refusal(customer: Customer, given: list[str], **more: Any) -> PlatformError:
    with pytest.raises(PlatformError) as caught:
        ask(customer, given, **more)
    return caught.value


def assert_free(customer: Customer) -> None:
    """Nothing was charged, and nothing is held."""
    waiting.until(lambda: ledger.holds(customer.tenant), lambda holds: holds == 0)
    ledger.assert_untouched(customer)


def test_all_are_answered_in_order_for_one_charge(acme: Customer, tiny: TinyWorker) -> None:
    given = texts(MANY)
    answer = ask(acme, given)
    shares = [{one.label: one.score for one in result.predictions or ()}["yes"] for result in answer.results]
    assert shares == [len(text) / 128 for text in given]
    assert sorted(tiny.computed) == sorted(given)
    records = ledger.records(acme.tenant)
    assert [(record.units, record.body["inputs"], record.body["requests"]) for record in records] == [
        (MANY, MANY, 0),
        (FEE, 0, 1),
    ]
    assert answer.units == ledger.units(acme.tenant) == MANY + FEE
    assert ledger.holds(acme.tenant) == 0


def test_what_is_cached_costs_what_cached_answers_cost(acme: Customer, tiny: TinyWorker) -> None:
    ask(acme, texts(100))
    before = ledger.units(acme.tenant)
    answer = ask(acme, texts(MANY))
    assert [result.cached for result in answer.results] == [True] * 100 + [False] * (MANY - 100)
    assert ledger.units(acme.tenant) - before == answer.units == MANY - 100 + FEE
    new = ledger.records(acme.tenant)[-3:]
    assert {(record.units, record.body["inputs"], record.body["cached"]) for record in new} == {
        (0, 100, True),
        (MANY - 100, MANY - 100, False),
        (FEE, 0, False),
    }
    again = ask(acme, texts(MANY))
    assert again.cached
    assert again.units == FEE
    assert sorted(tiny.computed) == sorted(texts(MANY))


def test_equal_inputs_are_computed_once(acme: Customer, tiny: TinyWorker) -> None:
    answer = ask(acme, texts(50) * 12)
    assert len(answer.results) == 600
    assert answer.results[0].predictions == answer.results[550].predictions
    assert sorted(tiny.computed) == sorted(texts(50))
    assert answer.units == ledger.units(acme.tenant) == 50 + FEE
    inputs = {record.body["inputs"]: record.units for record in ledger.records(acme.tenant)}
    assert inputs == {50: 50, 550: 0, 0: FEE}


def test_without_the_cache_each_is_computed(acme: Customer, tiny: TinyWorker) -> None:
    answer = ask(acme, texts(150) * 2, read=False, write=False)
    assert answer.units == ledger.units(acme.tenant) == 300 + FEE
    assert sorted(tiny.computed) == sorted(texts(150) * 2)


def test_one_bad_input_costs_nothing(acme: Customer, tiny: TinyWorker) -> None:
    problem = refusal(acme, [*texts(MANY), ""])
    assert (problem.kind, problem.field) == (ErrorKind.INVALID_INPUT, f"input[{MANY}]")
    assert tiny.batches == []
    assert_free(acme)


def test_what_the_model_fails_on_fails_the_call_and_costs_nothing(acme: Customer, tiny: TinyWorker) -> None:
    given = texts(MANY)
    given[300] = POISON
    problem = refusal(acme, given)
    assert (problem.kind, problem.field) == (ErrorKind.UNPROCESSABLE, "input[300]")
    assert "Nothing was charged" in problem.detail
    assert_free(acme)


def test_a_text_that_is_too_long_fails_the_call_unless_it_may_be_cut(acme: Customer, tiny: TinyWorker) -> None:
    tiny.serve(ModelVersion.objects.get(), max_tokens=4)
    given = texts(MANY)
    given[300] = given[400] = "one two three"
    problem = refusal(acme, given)
    assert (problem.kind, problem.field) == (ErrorKind.INVALID_INPUT, "input[300]")
    assert problem.extra == {"tokens": 5, "max_tokens": 4}
    assert_free(acme)
    answer = ask(acme, given, truncate=TO_LIMIT, read=False)
    cut = [place for place, result in enumerate(answer.results) if result.truncated == TextLength(5, 4)]
    assert cut == [300, 400]
    assert refusal(acme, given).field == "input[300]", "what was cut for one call is not the answer of another"


def test_a_time_out_charges_nothing_and_says_how_many_fit(acme: Customer, tiny: TinyWorker) -> None:
    ask(acme, texts(10, "known"))
    paid = ledger.units(acme.tenant)
    tiny.go.clear()
    problem = refusal(acme, [*texts(10, "known"), *texts(MANY)], timeout_s=0.3)
    assert problem.kind is ErrorKind.TIMEOUT
    assert f"10 of {MANY + 10} inputs were answered until then, and nothing was charged" in problem.detail
    tiny.go.set()
    waiting.until(lambda: ledger.holds(acme.tenant), lambda holds: holds == 0)
    assert ledger.units(acme.tenant) == paid
    assert ask(acme, texts(MANY)).units == ledger.units(acme.tenant) - paid


def test_limits_decide_as_if_asked_at_once(acme: Customer, tiny: TinyWorker) -> None:
    """The burst holds 1,000 units: what is more can never pass, and what is more than is left passes later."""
    never = refusal(acme, texts(1_200))
    assert never.kind is ErrorKind.CHARGE_TOO_LARGE
    assert "1,250 units" in never.detail
    assert_free(acme)
    small = make_customer("small", included_units=700)
    ask(small, texts(MANY))
    used = ledger.units(small.tenant)
    later = refusal(small, texts(MANY, "other"))
    assert later.kind is ErrorKind.QUOTA_EXCEEDED
    assert "included" in later.extra["violated-policies"]
    assert f"needs {MANY + FEE}" in later.detail
    assert ledger.units(small.tenant) == used
    assert ledger.holds(small.tenant) == 0


def test_a_settlement_that_fails_charges_nothing(
    acme: Customer, tiny: TinyWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_loop, "settle", lambda *, done, **_: done(unavailable("The state Redis is away.")))
    assert refusal(acme, texts(MANY)).kind is ErrorKind.UNAVAILABLE
    assert_free(acme)


def test_without_the_state_redis_nothing_is_computed(
    acme: Customer, tiny: TinyWorker, state_redis: RedisServer
) -> None:
    authentication.authenticate(acme.secret, address="127.0.0.1")
    state_redis.stop()
    try:
        assert refusal(acme, texts(MANY)).kind is ErrorKind.UNAVAILABLE
        assert tiny.batches == []
    finally:
        state_redis.start()


def test_it_leaves_room_in_the_queue(acme: Customer, tiny: TinyWorker, settings: Settings) -> None:
    settings.MAX_QUEUED_INPUTS = 100
    works.forget()
    assert ask(acme, texts(MANY)).units == MANY + FEE


def test_repeats_are_not_counted_among_what_workers_must_do(
    acme: Customer, tiny: TinyWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def expected_wait_s(wanted: Sequence[tuple[ModelRef, int]], **_: Any) -> float:
        asked.extend(tokens for _, tokens in wanted)
        return 0.0

    monkeypatch.setattr(batcher(), "expected_wait_s", expected_wait_s)
    ask(acme, texts(50) * 12)
    assert set(asked) == {sum(size_of(b"t" + text.encode(), text=True) for text in texts(50))}


def test_others_have_their_turns_between(acme: Customer, globex: Customer, tiny: TinyWorker) -> None:
    """One text of another tenant waits for the batches on their way, not for all that is left of the call."""
    tiny.go.clear()
    big = prediction.begin(*arguments(acme, texts(900)), whole=True)
    other = prediction.begin(*arguments(globex, ["mine"]), whole=True)
    tiny.go.set()
    assert other.finish().units == 1 + FEE
    answer = big.finish()
    assert len(answer.results) == 900
    assert tiny.computed.index("mine") < 200
    assert len(tiny.computed) == 901
