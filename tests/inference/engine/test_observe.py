"""From calls to numbers to an end: a canary that breaks its bounds is rolled back by itself."""

import datetime as dt
import random
from typing import Any

import pytest
from django.conf import settings

from inference.engine import observe
from inference.engine.predict import predict, predict_many, single
from inference.models import Rollout, RolloutKind, RolloutState
from inference.registry import versions
from inference.registry.rollouts import trials
from inference.trials import canary, counting, judging, shadow, tasks
from inference.types import CallContext, PredictRequest, PredictResult
from mlplatform.lib import redis
from mlplatform.lib.cancellation import Cancellation
from mlplatform.lib.errors import PlatformError
from tenants.authentication import authenticate
from tests.conftest import Customer
from tests.support import ledger
from tests.support.redis_server import RedisServer
from tests.support.rollouts import Pair, heard, make_pair, used
from tests.support.tiny_model import TinyWorker, make_version
from tests.support.walked_clock import Walk, published_at_once, walk

__all__ = ["published_at_once", "walk"]

pytestmark = pytest.mark.usefixtures("prices", "published_at_once")


@pytest.fixture
def pair(tiny_worker: TinyWorker) -> Pair:
    return make_pair(tiny_worker)


def context(operation: str = "predict", **changes: Any) -> CallContext:
    return CallContext(request_id=f"req-{random.random()}", operation=operation, api_version="v2", **changes)


def ask(customer: Customer, text: str, model: str = "reviews", **changes: Any) -> PredictResult:
    caller = authenticate(customer.secret, address="192.0.2.1")
    return single(predict(caller, PredictRequest(model=model, input=text), context(**changes)))


def fails(customer: Customer, text: str, model: str = "reviews") -> None:
    with pytest.raises(PlatformError):
        ask(customer, text, model)


def numbers(row: Rollout) -> dict[str, Any]:
    counting.flush()
    return canary.observed(row.kind, counting.read(row.pk))


def judged(row: Rollout) -> Rollout:
    counting.flush()
    tasks.judge_rollouts()
    return Rollout.objects.get(pk=row.pk)


def test_what_was_computed_is_counted_for_the_version_that_did_it(acme: Customer, pair: Pair) -> None:
    row = trials.start_canary(version=pair.candidate, percent=100)
    for number in range(3):
        assert ask(acme, f"text {number}").model_version == "2.0.0"
    assert ask(acme, "text 0").cached, "which tells nothing of the version"
    ask(acme, "pinned", "reviews@1.0.0")
    pair.of_candidate.broken = True
    fails(acme, "broken")
    fails(acme, "x" * 101)  # Refused before any version sees it.
    seen = numbers(row)
    assert {arm: (one["inputs"], one["errors"], one["timed"]) for arm, one in seen.items()} == {
        "canary": (4, 1, 3),
        "live": (1, 0, 1),
    }
    assert seen["canary"]["median_ms"] > 0


def test_the_time_of_a_call_of_many_inputs_is_nobodys_latency(acme: Customer, pair: Pair) -> None:
    row = trials.start_canary(version=pair.candidate, percent=100)
    caller = authenticate(acme.secret, address="192.0.2.1")
    predict_many(caller, [PredictRequest("reviews", f"text {number}") for number in range(5)], context("batch"))
    assert (numbers(row)["canary"]["inputs"], numbers(row)["canary"]["timed"]) == (5, 0)


def test_a_call_that_was_taken_back_is_no_failure_of_the_version(acme: Customer, pair: Pair) -> None:
    row = trials.start_canary(version=pair.candidate, percent=100)
    pair.of_candidate.may_go.clear()
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(PlatformError):
        ask(acme, "too late", cancellation=cancellation)
    pair.of_candidate.may_go.set()
    assert numbers(row)["canary"]["inputs"] == 0


def test_a_canary_that_fails_is_rolled_back_and_its_tenants_are_answered_again(acme: Customer, pair: Pair) -> None:
    used("reviews", [acme.tenant])
    row = trials.start_canary(version=pair.candidate, percent=100, min_calls=5)
    pair.of_candidate.broken = True
    for number in range(4):
        fails(acme, f"text {number}")
    assert judged(row).state == RolloutState.RUNNING, "too little was seen"
    fails(acme, "text 4")
    ended = judged(row)
    assert (ended.state, ended.ended_at is not None) == (RolloutState.ROLLED_BACK, True)
    assert "5 of 5 inputs failed" in ended.reason
    assert ended.observed["canary"]["errors"] == 5
    assert ask(acme, "text 0").model_version == "1.0.0"
    assert heard(acme.tenant) == ["canary_started 2.0.0", "canary_failed 2.0.0"]
    assert versions.resolve("reviews@2.0.0").version == "2.0.0", "it stays ready"
    assert judged(row).ended_at == ended.ended_at, "once"
    assert sum(record.units for record in ledger.records(acme.tenant)) == 1, "failures cost nothing"


def test_a_canary_that_is_slow_is_rolled_back(acme: Customer, pair: Pair) -> None:
    row = trials.start_canary(version=pair.candidate, percent=50, min_calls=20)
    counting.add(row.pk, "canary", {"calls": 20}, bucket=None)
    counting.add(row.pk, "live", {"calls": 20}, bucket=None)
    for _ in range(20):
        counting.add(row.pk, "canary", {}, bucket=judging.bucket(90.0))
        counting.add(row.pk, "live", {}, bucket=judging.bucket(50.0))
    assert judged(row).state == RolloutState.RUNNING
    for _ in range(21):
        counting.add(row.pk, "canary", {}, bucket=judging.bucket(150.0))
    ended = judged(row)
    assert ended.state == RolloutState.ROLLED_BACK
    assert "times the live version's" in ended.reason


def test_a_canary_that_was_good_for_long_is_judged_by_what_it_does_now(acme: Customer, pair: Pair, walk: Walk) -> None:
    row = trials.start_canary(version=pair.candidate, percent=100)
    counting.add(row.pk, "canary", {"calls": 1_000_000})
    assert judged(row).state == RolloutState.RUNNING
    walk(row.started_at + dt.timedelta(minutes=30))
    counting.add(row.pk, "canary", {"calls": 60, "errors": 30})
    ended = judged(row)
    assert ended.state == RolloutState.ROLLED_BACK
    assert "30 of 60" in ended.reason


def test_many_processes_add_up(pair: Pair) -> None:
    row = trials.start_canary(version=pair.candidate, percent=100)
    for _ in range(3):
        counting.add(row.pk, "canary", {"calls": 2, "errors": 1}, bucket=7)
        counting.flush()
    seen = counting.seen(counting.read(row.pk).total, "canary")
    assert (seen.calls, seen.errors, dict(seen.timings)) == (6, 3, {7: 3})
    assert 0 < redis.state().ttl(f"{{rollout-{row.pk}}}:seen") <= 30 * 86_400


def test_without_redis_counts_wait_and_answers_do_not(acme: Customer, pair: Pair, state_redis: RedisServer) -> None:
    row = trials.start_canary(version=pair.candidate, percent=100)
    ask(acme, "before")
    state_redis.stop()
    with pytest.raises(redis.FAILURES):
        counting.flush()
    state_redis.start()
    counting.add(row.pk, "canary", {"calls": 1})
    assert numbers(row)["canary"]["inputs"] == 2


def test_what_goes_wrong_in_observing_is_no_problem_of_the_customers(
    acme: Customer, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials.start_canary(version=pair.candidate, percent=100)

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("of the observer")

    monkeypatch.setattr(counting, "add", broken)
    assert ask(acme, "hello").model_version == "2.0.0"


def test_without_a_rollout_nothing_is_counted(acme: Customer, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("counted")

    monkeypatch.setattr(counting, "add", never)
    monkeypatch.setattr(shadow, "offer", never)
    monkeypatch.setattr(observe.logger, "exception", never)
    assert ask(acme, "hello").model_version == "1.0.0"
    counting.flush()
    assert not redis.state().keys("*rollout*")


def test_beat_asks_every_five_seconds() -> None:
    by_beat = settings.CELERY_BEAT_SCHEDULE["judge-rollouts"]
    assert (by_beat["task"], by_beat["schedule"]) == (tasks.judge_rollouts.name, 5.0)


def test_a_rollout_that_somebody_ended_meanwhile_is_not_ended_again(pair: Pair) -> None:
    row = trials.start_canary(version=pair.candidate, percent=100)
    counting.add(row.pk, "canary", {"calls": 60, "errors": 60})
    counting.flush()
    trials.stop(model=pair.live.model, kind=RolloutKind.CANARY)
    assert not canary.judge(row)
    assert Rollout.objects.get().state == RolloutState.STOPPED


def test_a_text_that_is_too_long_is_no_failure_of_the_version(acme: Customer, tiny_worker: TinyWorker) -> None:
    live, narrow = make_version("reviews"), make_version("reviews", "2.0.0", "ready")
    tiny_worker.serve(live, max_tokens=8)
    tiny_worker.serve(narrow, max_tokens=4)
    row = trials.start_canary(version=narrow, percent=100, min_calls=5)
    for number in range(10):
        fails(acme, f"a text that is too long {number}")
    assert ask(acme, "short").model_version == "2.0.0"
    assert (numbers(row)["canary"]["inputs"], numbers(row)["canary"]["errors"]) == (1, 0)
    assert judged(row).state == RolloutState.RUNNING
