"""The one entry point: what is answered is charged once, and what is not answered is not charged."""

import datetime as dt
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from pytest_django import Settings

from billing import admission, contracts, pricing
from billing.metering import ledger as metering_ledger
from billing.models import LimitRule, UsageRecord
from inference.batching.current import batcher
from inference.batching.work import Hold
from inference.cache import single_flight, store
from inference.cache.waiters import SharedWork
from inference.engine.predict import Answer, predict, predict_many, single
from inference.models import ModelVersion
from inference.registry import versions
from inference.types import CachePolicy, CallContext, PredictRequest, PredictResult
from mlplatform.lib import clock, redis
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.authentication import Caller, authenticate
from tests.conftest import Customer
from tests.support import ledger
from tests.support.redis_server import RedisServer
from tests.support.tiny_model import POISON, TinyRuntime, TinyWorker, make_version, share_of

LARGE = 10
LARGE_CACHED = 1

pytestmark = pytest.mark.usefixtures("prices")


@pytest.fixture
def large(tiny_worker: TinyWorker) -> TinyRuntime:
    """The live version of a model that costs 10 units computed and 1 cached."""
    return tiny_worker.serve(make_version("large"))


def caller_of(customer: Customer) -> Caller:
    return authenticate(customer.secret, address="192.0.2.1", fresh=True)


def call(operation: str = "predict", **changes: Any) -> CallContext:
    fields: dict[str, Any] = {"request_id": "req-1", "operation": operation, "api_version": "v2", "client": "curl/8"}
    return CallContext(**{**fields, **changes})


def ask(customer: Customer, text: Any = "hello", *, model: str = "large", **changes: Any) -> PredictResult:
    return single(predict(caller_of(customer), PredictRequest(model=model, input=text), call(**changes)))


def ask_many(customer: Customer, *texts: Any, model: str = "large", **changes: Any) -> Answer:
    requests = [PredictRequest(model, text, path=f"requests[{number}].") for number, text in enumerate(texts)]
    return predict_many(caller_of(customer), requests, call("batch", **changes))


def charges(customer: Customer) -> list[tuple[str, int, bool]]:
    """Model, units and cached of every usage record, and no hold is left; the ledger is read as it will be stored."""
    found = [(record.body["model"], record.units, record.body["cached"]) for record in ledger.records(customer.tenant)]
    assert open_holds(customer) == 0
    return found


def open_holds(customer: Customer) -> int:
    fields = redis.state().hgetall(f"{{s{customer.tenant.shard}}}:limits:{customer.tenant.pk}")
    return sum(1 for name, packed in fields.items() if name[:1] == b"+" and packed[:1] not in {b"s", b"r"})


def eventually(condition: Callable[[], object]) -> None:
    """Wait for what another thread is about to do."""
    give_up = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.001)


def kind_of(act: Callable[[], object]) -> ErrorKind:
    with pytest.raises(PlatformError) as caught:
        act()
    return caught.value.kind


def test_an_input_is_computed_charged_and_then_cached(acme: Customer, globex: Customer, large: TinyRuntime) -> None:
    first = ask(acme)
    assert first.predictions is not None
    assert [score.label for score in first.predictions] == ["no", "yes"], "best first"
    assert first.predictions[1].score == pytest.approx(share_of("hello"), abs=1e-6)
    assert (first.model, first.model_version, first.units, first.cached) == ("large", "1.0.0", LARGE, False)
    again = ask(acme)
    assert (again.units, again.cached) == (LARGE_CACHED, True)
    assert again.predictions == first.predictions
    assert charges(acme) == [("large", LARGE, False), ("large", LARGE_CACHED, True)]
    assert ask(globex).cached is False, "another tenant's answers are not shared"
    assert large.computed == ["hello", "hello"]


def test_another_process_finds_the_answer_in_redis(acme: Customer, large: TinyRuntime) -> None:
    ask(acme)
    store.local.clear()
    assert ask(acme).cached
    assert large.computed == ["hello"]


def test_sharing_a_models_cache_is_the_choice_of_staff(acme: Customer, globex: Customer, large: TinyRuntime) -> None:
    model = ModelVersion.objects.get().model
    model.shared_cache = True
    model.save()
    versions.forget()
    ask(acme)
    assert ask(globex).cached
    assert charges(globex) == [("large", LARGE_CACHED, True)]


@pytest.mark.parametrize(
    ("policy", "cached_then", "computed"),
    [
        (CachePolicy(), True, 1),
        (CachePolicy(read=False), False, 2),
        (CachePolicy(write=False), False, 2),
        (CachePolicy(max_age_s=60), True, 1),
    ],
)
def test_the_calls_cache_policy_is_honoured(
    acme: Customer, large: TinyRuntime, policy: CachePolicy, cached_then: bool, computed: int
) -> None:
    ask(acme, cache=policy)
    assert ask(acme, cache=policy).cached is cached_then
    assert len(large.computed) == computed


def test_a_call_can_refuse_an_answer_that_is_too_old_for_it(
    acme: Customer, large: TinyRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(acme)
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now + dt.timedelta(seconds=20))
    assert ask(acme, cache=CachePolicy(max_age_s=30)).age_s >= 19
    anew = ask(acme, cache=CachePolicy(max_age_s=10))
    assert (anew.cached, anew.units) == (False, LARGE)
    assert ask(acme, cache=CachePolicy(max_age_s=10)).age_s == 0, "the newer answer took the older one's place"
    assert len(large.computed) == 2


def test_a_call_that_wants_cached_answers_only_is_refused_where_there_is_none(
    acme: Customer, large: TinyRuntime
) -> None:
    only = CachePolicy(only_if_cached=True)
    assert kind_of(lambda: ask(acme, cache=only)) is ErrorKind.NOT_CACHED
    ledger.assert_untouched(acme)
    ask(acme)
    assert ask(acme, cache=only).cached
    answer = ask_many(acme, "hello", "unknown", cache=only)
    assert [isinstance(result, PredictResult) for result in answer.results] == [True, False]
    assert large.computed == ["hello"]


def test_an_answer_that_is_too_large_is_not_kept(acme: Customer, large: TinyRuntime, settings: Settings) -> None:
    settings.MAX_CACHED_ENTRY_BYTES = 7
    assert [ask(acme).cached, ask(acme).cached] == [False, False]
    assert redis.cache().dbsize() == 0
    assert len(store.local) == 0


def test_a_model_without_a_cache_computes_each_time(acme: Customer, large: TinyRuntime) -> None:
    model = ModelVersion.objects.get().model
    model.cache_ttl_s = 0
    model.save()
    versions.forget()
    assert [ask(acme).cached, ask(acme).cached] == [False, False]
    assert redis.cache().dbsize() == 0


def test_purging_and_promoting_serve_no_old_answer(acme: Customer, tiny_worker: TinyWorker, large: TinyRuntime) -> None:
    ask(acme)
    versions.purge_cache(model=ModelVersion.objects.get().model)
    versions.forget()
    assert not ask(acme).cached
    newer = make_version("large", "2.0.0", "ready")
    tiny_worker.serve(newer)
    versions.promote(version=newer)
    versions.forget()
    answer = ask(acme)
    assert (answer.model_version, answer.cached) == ("2.0.0", False)
    assert ask(acme, model="large@1.0.0").cached, "the old one still answers those who pin it"


def test_a_cache_that_is_down_costs_the_hit_and_nothing_else(
    acme: Customer, large: TinyRuntime, cache_redis: RedisServer
) -> None:
    cache_redis.stop()
    assert not ask(acme).cached
    assert ask(acme).cached, "this process has it"
    assert charges(acme) == [("large", LARGE, False), ("large", LARGE_CACHED, True)]


def test_a_cached_answer_of_another_size_is_a_miss(acme: Customer, large: TinyRuntime) -> None:
    ask(acme)
    for key in list(redis.cache().scan_iter()):
        redis.cache().set(key, redis.as_bytes(redis.cache().get(key) or b"") + b"more")
    store.local.clear()
    assert not ask(acme).cached


# --- Equal inputs at once --------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_equal_inputs_at_once_are_computed_once_and_everybody_is_answered(
    acme: Customer, tiny_worker: TinyWorker, large: TinyRuntime
) -> None:
    LimitRule.objects.update(amount=10_000)
    caller = caller_of(acme)
    contracts.contract_of(caller)
    versions.answering()
    pricing.tariff(operation="predict", model="large")
    answers: list[PredictResult] = []
    failures: list[BaseException] = []
    barrier = threading.Barrier(64)

    def run() -> None:
        try:
            barrier.wait()
            answers.append(single(predict(caller, PredictRequest("large", "same"), call())))
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert large.computed == ["same"]
    assert len({tuple(answer.predictions or ()) for answer in answers}) == 1
    assert sorted(answer.units for answer in answers) == [LARGE_CACHED] * 63 + [LARGE]
    # The monthly counter's first use may have drained some of the stream already.
    metering_ledger.drain()
    assert sum(UsageRecord.objects.values_list("units", flat=True)) == 63 * LARGE_CACHED + LARGE
    assert UsageRecord.objects.filter(cached=False).count() == 1, (
        "who was answered with another's computation is cached"
    )
    assert single_flight.under_way() == []


def test_equal_inputs_of_one_call_are_computed_once(acme: Customer, large: TinyRuntime) -> None:
    answer = ask_many(acme, "same", "other", "same")
    results = [result for result in answer.results if isinstance(result, PredictResult)]
    assert [result.cached for result in results] == [False, False, True]
    assert results[0].predictions == results[2].predictions
    assert sorted(large.computed) == ["other", "same"]
    assert single_flight.under_way() == []


def test_a_call_that_wants_a_fresh_answer_joins_nobody(acme: Customer) -> None:
    first, second, fresh = (SharedWork(b"p", b"k", Hold("h", 1, 1), clock.monotonic() + 30) for _ in range(3))
    assert single_flight.join(b"k", 0) is None
    assert single_flight.begin(b"k", first, may_join=True) is None
    assert single_flight.begin(b"k", second, may_join=True) is first
    assert single_flight.join(b"k", 0) is first
    assert single_flight.begin(b"k", fresh, may_join=False) is None
    assert single_flight.join(b"k", 0) is fresh
    single_flight.end(b"k", first)
    assert single_flight.join(b"k", 0) is fresh, "only its own computation ends a sent"
    single_flight.end(b"k", fresh)
    assert single_flight.join(b"k", 0) is None


def test_who_joined_a_computation_that_fails_is_told_and_not_charged(
    acme: Customer, tiny_worker: TinyWorker, large: TinyRuntime
) -> None:
    answer = ask_many(acme, POISON, POISON, "good")
    assert [isinstance(result, PlatformError) for result in answer.results] == [True, True, False]
    assert answer.units == 51
    assert charges(acme) == [("large", 1, False), ("", 50, False)]


# --- Failures: nothing is charged ------------------------------------------------------------------------------------


def test_a_poisoned_input_fails_alone_and_is_not_charged(
    acme: Customer, tiny_worker: TinyWorker, large: TinyRuntime
) -> None:
    answer = ask_many(acme, "one", POISON, "three", 4, "x" * 200)
    kinds = [result.kind if isinstance(result, PlatformError) else "answered" for result in answer.results]
    assert kinds == [
        "answered", ErrorKind.UNPROCESSABLE, "answered", ErrorKind.INVALID_INPUT, ErrorKind.INVALID_INPUT,
    ]  # fmt: skip
    assert [getattr(result, "field", None) for result in answer.results[3:]] == [
        "requests[3].input",
        "requests[4].input",
    ]
    assert answer.units == 52
    assert sorted(charges(acme)) == [("", 50, False), ("large", 1, False), ("large", 1, False)]


def test_a_call_in_which_nothing_is_answered_costs_no_fee(acme: Customer, large: TinyRuntime) -> None:
    answer = ask_many(acme, POISON)
    assert answer.units == 0
    assert charges(acme) == []
    ledger.assert_untouched(acme)


def test_a_call_without_one_good_input_is_not_even_admitted(acme: Customer, large: TinyRuntime) -> None:
    answer = ask_many(acme, 1, None)
    assert (answer.decision, answer.units) == (None, 0)
    ledger.assert_untouched(acme)


def test_a_time_out_gives_everything_back(acme: Customer, tiny_worker: TinyWorker, large: TinyRuntime) -> None:
    tiny_worker.lose = 1000
    assert kind_of(lambda: ask(acme, timeout_s=0.05)) is ErrorKind.TIMEOUT
    assert open_holds(acme) == 0
    assert single_flight.under_way() == []
    assert ledger.records(acme.tenant) == []


def test_who_joined_and_runs_out_of_time_gets_everything_back_too(
    acme: Customer, tiny_worker: TinyWorker, large: TinyRuntime
) -> None:
    tiny_worker.go.clear()
    leader: list[PredictResult] = []
    caller = caller_of(acme)
    # What the second thread needs is in memory, for it cannot read this test's open transaction.
    contracts.contract_of(caller)
    versions.answering()
    pricing.tariff(operation="predict", model="large")
    request = PredictRequest("large", "hello")
    thread = threading.Thread(target=lambda: leader.append(single(predict(caller, request, call()))))
    thread.start()
    eventually(single_flight.under_way)
    assert kind_of(lambda: ask(acme, timeout_s=0.05)) is ErrorKind.TIMEOUT
    assert open_holds(acme) == 1, "the leader's"
    assert len(single_flight.under_way()) == 1, "the leader's computation goes on, for others to join"
    tiny_worker.go.set()
    thread.join(30)
    assert leader[0].units == LARGE
    assert charges(acme) == [("large", LARGE, False)]


def test_an_answer_that_comes_with_the_time_out_is_the_customers(
    acme: Customer, tiny_worker: TinyWorker, large: TinyRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker has settled and its reply is on its way when the wait ends."""
    real_release = admission.release
    released: list[list[str]] = []

    def release(**arguments: Any) -> list[str]:
        tiny_worker.go.set()
        eventually(lambda: ledger.records(acme.tenant))
        released.append(real_release(**arguments))
        return released[-1]

    monkeypatch.setattr(admission, "release", release)
    tiny_worker.go.clear()
    assert ask(acme, timeout_s=1.5).units == LARGE
    assert released == [[]]
    assert charges(acme) == [("large", LARGE, False)]


def test_a_release_that_was_asked_twice_because_its_connection_broke_leaves_no_answer_for_nothing(
    acme: Customer, tiny_worker: TinyWorker, large: TinyRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_release = admission.release
    released: list[list[str]] = []

    def release(**arguments: Any) -> list[str]:
        real_release(**arguments)
        # The worker answers meanwhile, and finds nothing to settle.
        tiny_worker.go.set()
        tiny_worker.catch_up()
        released.append(real_release(**arguments))
        return released[-1]

    monkeypatch.setattr(admission, "release", release)
    tiny_worker.go.clear()
    assert kind_of(lambda: ask(acme, timeout_s=0.3)) is ErrorKind.TIMEOUT
    assert [len(holds) for holds in released] == [1]
    assert charges(acme) == []


def test_a_bug_on_the_way_leaves_no_computation_that_others_would_wait_for(
    acme: Customer, large: TinyRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(calls: object) -> None:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(batcher(), "submit_each", explode)
        with pytest.raises(RuntimeError):
            ask(acme)
    assert single_flight.under_way() == []
    assert not ask(acme).cached


def test_a_lost_batch_is_sent_again_and_charged_once(
    acme: Customer, tiny_worker: TinyWorker, large: TinyRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.batching.losses.MIN_RESEND_S", 0.01)
    tiny_worker.lose = 1
    assert ask(acme).units == LARGE
    assert len(tiny_worker.batches) == 2
    assert charges(acme) == [("large", LARGE, False)]
