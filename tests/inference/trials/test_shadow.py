"""A shadow computes what others were answered, without a trace: no answer, no charge, no wait."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from inference.batching.current import batcher
from inference.batching.work import Hold, WorkItem
from inference.engine.predict import predict, single
from inference.models import Rollout
from inference.registry.rollouts import trials
from inference.trials import canary, counting, shadow
from inference.types import TO_LIMIT, CallContext, PredictRequest, PredictResult, Priority
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.authentication import authenticate
from tests.conftest import Customer
from tests.support import ledger
from tests.support.rollouts import LIVE_SAYS, Pair, make_pair, serve
from tests.support.tiny_model import TinyWorker, make_version
from tests.support.walked_clock import published_at_once

__all__ = ["published_at_once"]

pytestmark = pytest.mark.usefixtures("prices", "published_at_once")


@pytest.fixture
def pair(tiny_worker: TinyWorker) -> Pair:
    return make_pair(tiny_worker)


def ask(customer: Customer, text: str, model: str = "reviews") -> PredictResult:
    caller = authenticate(customer.secret, address="192.0.2.1")
    context = CallContext(request_id=f"req-{text}", operation="predict", api_version="v2")
    return single(predict(caller, PredictRequest(model=model, input=text), context))


def share_of_yes(result: PredictResult) -> float:
    assert result.predictions is not None
    return next(score.score for score in result.predictions if score.label == "yes")


def seen(row: Rollout, **expected: int) -> dict[str, Any]:
    """What is counted of the shadow, once it is what is expected."""
    give_up = time.monotonic() + 30
    shadow.send()
    while True:
        counting.flush()
        found = canary.observed(row.kind, counting.read(row.pk))
        if all(found[name] == number for name, number in expected.items()):
            return found
        assert time.monotonic() < give_up, found
        time.sleep(0.005)


def test_answers_and_charges_are_those_without_a_shadow(acme: Customer, globex: Customer, pair: Pair) -> None:
    texts = [f"text {number}" for number in range(20)]
    without = [ask(globex, text) for text in texts]
    row = trials.start_shadow(version=pair.candidate)
    with_it = [ask(acme, text) for text in texts]
    found = seen(row, compared=20)
    assert [(one.model_version, one.predictions, one.units, one.cached) for one in with_it] == [
        (one.model_version, one.predictions, one.units, one.cached) for one in without
    ]
    assert {share_of_yes(one) for one in with_it} == {LIVE_SAYS}
    charged = [
        [(record.units, record.body["cached"]) for record in ledger.records(one.tenant)] for one in (acme, globex)
    ]
    assert charged[0] == charged[1] == [(1, False)] * 20
    assert sorted(pair.of_candidate.computed) == sorted(texts)
    assert found == {
        "compared": 20,
        "agreed": 0,
        "errors": 0,
        "refused": 0,
        "dropped": 0,
        "mean_difference": pytest.approx(0.5),
    }


def test_what_a_shadow_computed_is_never_in_the_cache(acme: Customer, pair: Pair) -> None:
    row = trials.start_shadow(version=pair.candidate)
    ask(acme, "hello")
    seen(row, compared=1)
    pinned = ask(acme, "hello", "reviews@2.0.0")
    assert (pinned.cached, pinned.units) == (False, 1)
    ask(acme, "hello")
    assert seen(row, compared=1), "a cached answer is not computed again for a shadow"


def test_a_candidate_that_fails_is_counted_and_no_call_notices(acme: Customer, pair: Pair) -> None:
    row = trials.start_shadow(version=pair.candidate)
    pair.of_candidate.broken = True
    assert share_of_yes(ask(acme, "hello")) == LIVE_SAYS
    seen(row, errors=1)
    assert len(ledger.records(acme.tenant)) == 1


def test_inputs_are_encoded_for_a_candidate_with_another_schema(acme: Customer, tiny_worker: TinyWorker) -> None:
    pair = make_pair(tiny_worker)
    narrow = make_version("reviews", "3.0.0", "ready", input_schema={"kind": "text", "max_chars": 5})
    runtime = serve(tiny_worker, narrow, LIVE_SAYS)
    row = trials.start_shadow(version=narrow)
    ask(acme, "short")
    ask(acme, "too long for it")
    found = seen(row, compared=1, refused=1)
    assert (runtime.computed, found["agreed"], found["mean_difference"]) == (["short"], 1, 0.0)
    assert pair.of_candidate.computed == []


def test_only_answers_of_the_live_version_are_mirrored(acme: Customer, pair: Pair) -> None:
    trials.start_canary(version=pair.candidate, percent=100)
    trials.start_shadow(version=pair.candidate)
    assert ask(acme, "hello").model_version == "2.0.0"
    shadow.send()
    assert pair.of_candidate.computed == ["hello"], "once, as the canary"


def test_while_workers_are_busy_shadows_are_dropped_and_calls_answered(acme: Customer, pair: Pair) -> None:
    row = trials.start_shadow(version=pair.candidate)
    pair.of_candidate.may_go.clear()
    extra = 5
    for number in range(shadow.MAX_UNDER_WAY + extra):
        ask(acme, f"text {number}")
    assert seen(row, dropped=extra)["compared"] == 0
    pair.of_candidate.may_go.set()
    seen(row, dropped=extra, compared=shadow.MAX_UNDER_WAY)


def test_a_full_queue_drops_a_shadow(acme: Customer, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    row = trials.start_shadow(version=pair.candidate)
    ask(acme, "hello")

    def full(_: Any) -> None:
        raise PlatformError(ErrorKind.OVERLOADED, "full")

    monkeypatch.setattr(batcher(), "submit", full)
    seen(row, dropped=1)
    assert not shadow.backlog()


def test_a_shadow_stands_behind_everything_that_a_call_waits_for(
    acme: Customer, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials.start_shadow(version=pair.candidate)
    ask(acme, "hello")
    items: list[WorkItem] = []
    monkeypatch.setattr(batcher(), "submit", lambda groups: items.extend(groups[0][1]))
    shadow.send()
    (item,) = items
    assert (item.priority, item.cache_key) == (Priority.BACKGROUND, b"")
    assert item.hold == Hold(hold_id="", tenant_id=acme.tenant.pk, shard=acme.tenant.shard)


@pytest.mark.parametrize(("drawn", "mirrored"), [(0.0999, 1), (0.1, 0)])
def test_a_share_of_the_inputs_is_mirrored(
    acme: Customer, pair: Pair, monkeypatch: pytest.MonkeyPatch, drawn: float, mirrored: int
) -> None:
    trials.start_shadow(version=pair.candidate, percent=10)
    monkeypatch.setattr("random.random", lambda: drawn)
    ask(acme, "hello")
    assert shadow.backlog() == mirrored


def patiently(condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.005)


def test_the_path_of_a_request_only_puts_it_on_a_list(acme: Customer, pair: Pair) -> None:
    trials.start_shadow(version=pair.candidate)
    ask(acme, "hello")
    assert (shadow.backlog(), pair.of_candidate.computed) == (1, [])
    shadow.send()
    patiently(lambda: pair.of_candidate.computed == ["hello"])


def test_a_candidate_that_reads_fewer_tokens_has_refused_and_not_failed(
    acme: Customer, tiny_worker: TinyWorker
) -> None:
    live, narrow = make_version("reviews"), make_version("reviews", "2.0.0", "ready")
    tiny_worker.serve(live, max_tokens=8)
    candidate = tiny_worker.serve(narrow, max_tokens=4)
    row = trials.start_shadow(version=narrow)
    ask(acme, "one two")
    ask(acme, "one two three")
    seen(row, compared=1, refused=1, errors=0)
    assert candidate.computed == ["one two"]
    caller = authenticate(acme.secret, address="192.0.2.1")
    context = CallContext(request_id="req-cut", operation="predict", api_version="v2")
    predict(caller, PredictRequest("reviews", "one two three four", truncate=TO_LIMIT), context)
    seen(row, compared=2, refused=1, errors=0)
    assert candidate.computed == ["one two", "one two"], "cut, as the call lets it be"
