"""Texts with more tokens than a model reads: refused or cut as each call asks, whatever others ask at the same time.

The model has a token for each word and two around them, and reads eight.
"""

from copy import deepcopy
from typing import Any

import pytest

from inference.batching.current import batcher
from inference.cache import single_flight, store
from inference.engine.predict import Started, begin_each, predict_many
from inference.engine.preparing import prepare_single
from inference.inputs import canonical
from inference.inputs.truncation import is_too_long
from inference.models import ModelVersion
from inference.registry import versions
from inference.types import REFUSE, TO_LIMIT, CachePolicy, ModelRef, PredictRequest, PredictResult, TextLength
from mlplatform.lib import redis
from mlplatform.lib.errors import ErrorKind, PlatformError
from tests.conftest import Customer
from tests.inference.engine.test_predict import LARGE, LARGE_CACHED, call, caller_of, charges, eventually
from tests.support import ledger
from tests.support.tiny_model import TinyRuntime, TinyWorker, make_version
from tests.support.waiting import until
from tests.support.walked_clock import published_at_once

__all__ = ["published_at_once"]

pytestmark = pytest.mark.usefixtures("prices", "published_at_once")

LIMIT = 8
FITS = "one two three four five six"
LONG = f"{FITS} seven eight"
READ = TextLength(10, LIMIT)


@pytest.fixture
def words(tiny_worker: TinyWorker) -> TinyRuntime:
    return tiny_worker.serve(make_version("large"), max_tokens=LIMIT)


def started(customer: Customer, *wanted: tuple[str, int], **changes: Any) -> Started:
    requests = [
        PredictRequest("large", text, path=f"requests[{number}].", truncate=truncate)
        for number, (text, truncate) in enumerate(wanted)
    ]
    return begin_each(caller_of(customer), requests, call(**changes))


def ask(customer: Customer, text: str, truncate: int, **changes: Any) -> PredictResult | PlatformError:
    (found,) = started(customer, (text, truncate), **changes).finish().results
    return found


def answered(customer: Customer, text: str, truncate: int, **changes: Any) -> PredictResult:
    found = ask(customer, text, truncate, **changes)
    assert isinstance(found, PredictResult), found
    return found


def refused(found: PredictResult | PlatformError, *, place: int = 0, length: TextLength = READ) -> PlatformError:
    assert isinstance(found, PlatformError)
    assert (found.kind, found.field) == (ErrorKind.INVALID_INPUT, f"requests[{place}].input")
    assert found.extra == length.as_json()
    assert is_too_long(found)
    for said in (f"{length.tokens} tokens", f"at most {length.max_tokens}", '"parameters": {"truncate": true}'):
        assert said in found.detail
    return found


def test_a_text_that_is_too_long_is_refused_and_costs_nothing(acme: Customer, words: TinyRuntime) -> None:
    refused(ask(acme, LONG, REFUSE))
    assert words.computed == []
    ledger.assert_untouched(acme)
    # Neither an answer nor a claim is left: that is given back beside the answer.
    until(redis.cache().dbsize, lambda keys: keys == 0)
    assert single_flight.under_way() == []


def test_its_neighbours_are_answered_and_paid(acme: Customer, globex: Customer, words: TinyRuntime) -> None:
    first, long, last = started(acme, ("a", REFUSE), (LONG, REFUSE), ("b", REFUSE)).finish().results
    refused(long, place=1)
    assert isinstance(first, PredictResult)
    assert isinstance(last, PredictResult)
    assert sorted(words.computed) == ["a", "b"]
    assert charges(acme) == [("large", LARGE, False)] * 2
    ledger.assert_untouched(globex)


def test_with_truncate_it_is_cut_and_the_answer_says_so_also_from_the_cache(acme: Customer, words: TinyRuntime) -> None:
    cut = answered(acme, LONG, TO_LIMIT)
    whole = answered(acme, FITS, REFUSE)
    assert (cut.truncated, whole.truncated) == (READ, None)
    assert cut.predictions == whole.predictions, "what was read is the beginning"
    for from_redis in (False, True):
        if from_redis:
            store.forget()
        again = answered(acme, LONG, TO_LIMIT)
        assert (again.cached, again.truncated, again.predictions) == (True, READ, cut.predictions)
    assert words.computed == [FITS, FITS]
    assert charges(acme) == [("large", LARGE, False)] * 2 + [("large", LARGE_CACHED, True)] * 2


def test_an_answer_to_what_was_cut_is_none_for_a_call_that_did_not_ask_for_it(
    acme: Customer, words: TinyRuntime
) -> None:
    """But it tells how long the text is, so that nothing is computed or held to say so."""
    answered(acme, LONG, TO_LIMIT)
    paid = charges(acme)
    for from_redis in (False, True):
        if from_redis:
            store.forget()
        answer = started(acme, (LONG, REFUSE)).finish()
        assert answer.decision is None, "nothing was admitted"
        refused(answer.results[0])
    assert charges(acme) == paid
    assert words.computed == [FITS]
    refused(ask(acme, LONG, REFUSE, cache=CachePolicy(only_if_cached=True)))
    refused(ask(acme, LONG, REFUSE, cache=CachePolicy(read=False)))


def test_what_was_read_whole_answers_both_and_is_computed_once(acme: Customer, words: TinyRuntime) -> None:
    assert not answered(acme, FITS, TO_LIMIT).cached
    found = answered(acme, FITS, REFUSE)
    assert (found.cached, found.truncated) == (True, None)
    assert words.computed == [FITS]


def test_calls_that_refuse_and_calls_that_cut_do_not_wait_with_each_other(
    acme: Customer, tiny_worker: TinyWorker, words: TinyRuntime
) -> None:
    tiny_worker.go.clear()
    begun = [started(acme, (LONG, truncate)) for truncate in (TO_LIMIT, REFUSE, TO_LIMIT, REFUSE)]
    assert len(single_flight.under_way()) == 2
    assert redis.cache().exists(*(store.CLAIM + store.lease_key(key(acme), one) for one in (REFUSE, TO_LIMIT))) == 2
    tiny_worker.go.set()
    first, second, third, fourth = (one.finish().results[0] for one in begun)
    refused(second)
    refused(fourth)
    assert isinstance(first, PredictResult)
    assert isinstance(third, PredictResult)
    assert (first.truncated, third.truncated) == (READ, READ)
    assert words.computed == [FITS]
    assert charges(acme) == [("large", LARGE, False), ("large", LARGE_CACHED, False)]
    eventually(lambda: not list(redis.cache().scan_iter(store.CLAIM + b"*")))


def test_each_of_several_equal_texts_names_its_own_place(acme: Customer, words: TinyRuntime) -> None:
    results = started(acme, (LONG, REFUSE), ("a", REFUSE), (LONG, REFUSE)).finish().results
    refused(results[0], place=0)
    refused(results[2], place=2)
    assert charges(acme) == [("large", LARGE, False)]


def test_a_text_may_be_cut_shorter_than_the_model_needs(acme: Customer, words: TinyRuntime) -> None:
    shorter, limit = answered(acme, LONG, 4), answered(acme, LONG, TO_LIMIT)
    assert (shorter.truncated, limit.truncated) == (TextLength(10, 4), READ)
    assert (shorter.cached, limit.cached) == (False, False)
    assert answered(acme, LONG, 4).truncated == TextLength(10, 4)
    assert answered(acme, LONG, 5).truncated == TextLength(10, 5)
    assert words.computed == ["one two", FITS, "one two three"]


def test_a_waiter_on_another_process_is_refused_where_that_one_cut(acme: Customer, words: TinyRuntime) -> None:
    """Its own claim is of another name; this is what a process of an earlier moment may still find."""
    redis.cache().set(store.CLAIM + key(acme), b"theirs", px=60_000)
    waiting = started(acme, (LONG, REFUSE))
    store.keep({key(acme): b"\x00\x00\x40\x3f\x00\x00\x80\x3e"}, ttl_s=60, lengths={key(acme): READ})
    refused(waiting.finish().results[0])
    assert words.computed == []
    ledger.assert_untouched(acme)


def test_what_an_earlier_release_kept_is_computed_again(acme: Customer, words: TinyRuntime) -> None:
    """It knew nothing of refusals: its answers may be those of texts that were cut."""
    redis.cache().set(store.ENTRY + key(acme, FITS), b"\x00" * 12 + b"\x00\x00\x40\x3f\x00\x00\x80\x3e", ex=60)
    assert not answered(acme, FITS, REFUSE).cached


def test_an_input_that_is_no_text_has_nothing_to_be_cut(acme: Customer, tiny_worker: TinyWorker) -> None:
    grid = make_version("grid", input_schema={"kind": "tensor", "shape": [2]}, runtime="tensor-classification")
    tiny_worker.serve(grid)
    numbers = [PredictRequest("grid", [0.5, 0.25], truncate=truncate) for truncate in (TO_LIMIT, REFUSE)]
    answer = predict_many(caller_of(acme), numbers, call("batch"))
    assert [isinstance(one, PredictResult) and one.truncated for one in answer.results] == [None, None]
    assert len(tiny_worker.computed) == 1, "one computation answers both"


def test_a_worker_that_loads_a_version_tells_what_it_reads(tiny_worker: TinyWorker, words: TinyRuntime) -> None:
    version = ModelVersion.objects.get()
    assert versions.resolve("large").max_tokens is None
    tiny_worker.worker._get(version)
    assert versions.resolve("large").max_tokens == LIMIT
    version.refresh_from_db()
    assert version.input_schema == {"kind": "text", "max_chars": 100, "max_tokens": LIMIT}
    versions.mark_verified(version_id=version.pk, error="", max_tokens=LIMIT + 1)
    assert versions.resolve("large").max_tokens == LIMIT + 1


def test_no_more_tokens_are_counted_than_are_read(acme: Customer, words: TinyRuntime) -> None:
    versions.note_max_tokens(version_id=ModelVersion.objects.get().pk, max_tokens=LIMIT)
    requests = [PredictRequest("large", text, truncate=TO_LIMIT) for text in (LONG, "a")]
    assert [prepare_single(caller_of(acme), request, call()).size for request in requests] == [LIMIT, 1]


def test_refusals_make_no_model_look_fast(acme: Customer, words: TinyRuntime) -> None:
    answered(acme, "a", REFUSE)
    lane = batcher()._pools.open(resolved())[1]
    before = deepcopy(lane.speed)
    refused(ask(acme, LONG, REFUSE))
    assert lane.speed == before


def key(customer: Customer, text: str = LONG) -> bytes:
    ref = resolved()
    payload = canonical.encode(ref.input_schema, text, field="input")
    return canonical.cache_key(ref, payload, tenant_id=customer.tenant.pk)


def resolved() -> ModelRef:
    return versions.resolve("large")
