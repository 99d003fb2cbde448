"""Equal inputs of several processes: one computes, the others wait for its answer and pay what cached answers cost.

The other process is played by the test: it claims an input in the real Redis, and answers as its worker would.
"""

from typing import Any

import pytest
from pytest_django import Settings

from billing.charging import Refused
from billing.metering import ledger as metering_ledger
from billing.models import LimitRule, UsageRecord
from inference.batching import current
from inference.cache import leases, single_flight, store, waiters
from inference.engine.predict import Started, begin, single
from inference.inputs import canonical
from inference.models import ModelVersion
from inference.registry import versions
from inference.types import CachePolicy, PredictRequest, PredictResult, Priority
from mlplatform.lib import redis
from mlplatform.lib.errors import ErrorKind, PlatformError
from tests.conftest import Customer
from tests.inference.engine.test_predict import (
    LARGE,
    LARGE_CACHED,
    ask,
    call,
    caller_of,
    charges,
    eventually,
    large,
    open_holds,
)
from tests.support import ledger
from tests.support.redis_server import RedisServer
from tests.support.tiny_model import POISON, TinyRuntime, TinyWorker, share_of

__all__ = ["large"]

pytestmark = pytest.mark.usefixtures("prices")

SCORES = b"\x00\x00\x40\x3f\x00\x00\x80\x3e"  # 0.75 and 0.25
LONG_MS = 60_000


def key_of(customer: Customer, text: str = "hello") -> bytes:
    ref = versions.resolve("large", tenant_id=customer.tenant.pk)
    return canonical.cache_key(
        ref, canonical.encode(ref.input_schema, text, field="input"), tenant_id=customer.tenant.pk
    )


def claim(customer: Customer, text: str = "hello", *, for_ms: int = LONG_MS) -> bytes:
    """Another process computes this input."""
    key = key_of(customer, text)
    redis.cache().set(store.CLAIM + key, b"theirs", px=for_ms)
    return key


def started(customer: Customer, *texts: str, **changes: Any) -> Started:
    requests = [PredictRequest("large", text) for text in texts or ("hello",)]
    return begin(caller_of(customer), requests, call(**changes))


def results(call: Started) -> list[PredictResult | PlatformError]:
    return list(call.finish().results)


def claimed() -> int:
    return sum(1 for _ in redis.cache().scan_iter(store.CLAIM + b"*"))


def test_an_input_that_another_process_computes_waits_for_its_answer(acme: Customer, large: TinyRuntime) -> None:
    key = claim(acme)
    waiting = started(acme)
    store.keep({key: SCORES}, ttl_s=60)
    (result,) = results(waiting)
    assert isinstance(result, PredictResult)
    assert [(score.label, score.score) for score in result.predictions or ()] == [("yes", 0.75), ("no", 0.25)]
    assert (result.cached, result.units) == (True, LARGE_CACHED)
    assert result.age_s in range(5)
    assert large.computed == []
    assert charges(acme) == [("large", LARGE_CACHED, False)]
    metering_ledger.drain()
    record = UsageRecord.objects.get()
    assert (record.cached, record.units, record.saved_units) == (True, LARGE_CACHED, LARGE - LARGE_CACHED)
    assert store.local.get(key) is not None, "the next one is answered from memory"
    assert single_flight.under_way() == []


def test_who_computes_says_so_and_the_worker_ends_the_claim(
    acme: Customer, tiny_worker: TinyWorker, large: TinyRuntime
) -> None:
    tiny_worker.go.clear()
    computing_it = started(acme)
    token = computing_it.calls[0].items[0].hold_id.encode()
    eventually(lambda: redis.cache().get(store.CLAIM + key_of(acme)) == token)
    tiny_worker.go.set()
    assert isinstance(results(computing_it)[0], PredictResult)
    eventually(lambda: claimed() == 0)
    assert redis.cache().exists(store.ENTRY + key_of(acme)) == 1


def test_when_the_claim_is_gone_without_an_answer_the_input_is_computed_after_all(
    acme: Customer, large: TinyRuntime
) -> None:
    claim(acme)
    waiting = started(acme, "hello", "other")
    redis.cache().delete(store.CLAIM + key_of(acme))
    first, second = (result for result in results(waiting) if isinstance(result, PredictResult))
    assert {score.label: score.score for score in first.predictions or ()}["yes"] == pytest.approx(
        share_of("hello"), abs=1e-6
    )
    assert (first.cached, second.cached) == (False, False)
    assert sorted(large.computed) == ["hello", "other"]
    assert charges(acme) == [*[("large", LARGE, False)] * 2, ("", 0, False)], "the last counts the call"


def test_a_process_that_was_killed_holds_nobody_up_for_longer_than_its_lease(
    acme: Customer, large: TinyRuntime
) -> None:
    claim(acme, for_ms=50)
    assert ask(acme).units == LARGE
    assert leases.LEASE_S <= 2


def test_equal_inputs_of_this_process_wait_with_the_first_and_none_pays_for_what_was_computed_elsewhere(
    acme: Customer, large: TinyRuntime
) -> None:
    key = claim(acme)
    hasty, patient = started(acme, timeout_s=0.05), started(acme)
    (late,) = results(hasty)
    assert isinstance(late, PlatformError)
    assert late.kind is ErrorKind.TIMEOUT
    store.keep({key: SCORES}, ttl_s=60)
    (result,) = results(patient)
    assert isinstance(result, PredictResult)
    assert (result.cached, result.units) == (True, LARGE_CACHED), "the other process's caller paid for it"
    assert charges(acme) == [("large", LARGE_CACHED, False)]


def test_who_gives_up_waiting_gets_everything_back(acme: Customer, large: TinyRuntime) -> None:
    claim(acme)
    (late,) = results(started(acme, timeout_s=0.05))
    assert isinstance(late, PlatformError)
    assert late.kind is ErrorKind.TIMEOUT
    assert charges(acme) == []
    assert large.computed == []
    assert claimed() == 1, "the other process's"
    eventually(lambda: not waiters.waiting())


@pytest.mark.parametrize("text", ["hello", POISON])
def test_a_computation_that_fails_or_is_given_up_gives_its_claim_back(
    acme: Customer, tiny_worker: TinyWorker, large: TinyRuntime, text: str
) -> None:
    tiny_worker.lose = 1000 if text == "hello" else 0
    (failed,) = results(started(acme, text, timeout_s=0.05 if text == "hello" else 30.0))
    assert isinstance(failed, PlatformError)
    eventually(lambda: claimed() == 0 and leases.held() == [])
    assert charges(acme) == []


def test_a_full_queue_gives_the_claim_back_too(acme: Customer, large: TinyRuntime, settings: Settings) -> None:
    settings.MAX_QUEUED_INPUTS = 0
    current.forget()  # The next batcher reads it.
    (refused,) = results(started(acme))
    assert isinstance(refused, PlatformError)
    assert refused.kind is ErrorKind.OVERLOADED
    eventually(lambda: claimed() == 0)
    claim(acme)
    waiting = started(acme)
    redis.cache().delete(store.CLAIM + key_of(acme))
    (refused,) = results(waiting)
    assert isinstance(refused, PlatformError)
    assert refused.kind is ErrorKind.OVERLOADED
    assert charges(acme) == []
    assert open_holds(acme) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"cache": CachePolicy(read=False)},
        {"cache": CachePolicy(write=False)},
        {"cache": CachePolicy(max_age_s=9)},
        {"priority": Priority.BACKGROUND},
    ],
)
def test_calls_of_another_kind_wait_with_nobody_and_nobody_waits_with_them(
    acme: Customer, large: TinyRuntime, changes: dict[str, Any]
) -> None:
    claim(acme)
    (result,) = results(started(acme, **changes))
    assert isinstance(result, PredictResult)
    assert not result.cached
    redis.cache().flushall()
    store.local.clear()
    waiting = started(acme, "another", **changes)
    assert claimed() == 0
    results(waiting)


def test_a_model_without_a_cache_claims_nothing(acme: Customer, large: TinyRuntime) -> None:
    model = ModelVersion.objects.get().model
    model.cache_ttl_s = 0
    model.save()
    versions.forget()
    started(acme).finish()
    assert redis.cache().dbsize() == 0


def test_an_answer_of_another_size_does_not_do(acme: Customer, large: TinyRuntime) -> None:
    key = claim(acme)
    waiting = started(acme)
    store.keep({key: SCORES + SCORES}, ttl_s=60)
    (result,) = results(waiting)
    assert isinstance(result, PredictResult)
    assert (result.cached, result.units) == (False, LARGE)


def test_when_the_cache_redis_goes_away_who_waited_computes(
    acme: Customer, large: TinyRuntime, cache_redis: RedisServer
) -> None:
    claim(acme)
    waiting = started(acme)
    cache_redis.stop()
    (result,) = results(waiting)
    assert isinstance(result, PredictResult)
    assert result.units == LARGE
    assert single(started(acme).finish()).cached, "this process has it"


def test_a_refused_call_claims_nothing(acme: Customer, large: TinyRuntime) -> None:
    LimitRule.objects.update(amount=LARGE - 1)
    with pytest.raises(Refused):
        started(acme, "hello", "other")
    assert claimed() == 0
    ledger.assert_untouched(acme)
