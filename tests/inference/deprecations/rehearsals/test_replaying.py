"""One call computed again: unbilled, uncached, after all other work, and refused as the customer's own call would be."""

import threading

import pytest

from inference.deprecations.rehearsals import replaying
from inference.models import VersionState
from inference.types import TO_LIMIT, PredictRequest, TextLength
from mlplatform.lib import redis
from mlplatform.lib.errors import ErrorKind, PlatformError
from tests.conftest import Customer
from tests.support import ledger
from tests.support.ending import make_schedule
from tests.support.tiny_model import POISON, TinyRuntime, TinyWorker, make_version, share_of, tiny_worker

__all__ = ["tiny_worker"]

pytestmark = pytest.mark.usefixtures("prices")
GPU = "celery:gpu"


@pytest.fixture
def runtime(tiny_worker: TinyWorker) -> TinyRuntime:
    tiny_worker.worker.heartbeat.beat()
    return tiny_worker.serve(make_version("large"))


def test_the_answer_is_the_models_and_costs_nothing(acme: Customer, runtime: TinyRuntime) -> None:
    found = replaying.replay(PredictRequest("large", "hello", top_k=1), tenant=acme.tenant)
    (result,) = found.answer.results
    assert not isinstance(result, PlatformError)
    assert result.predictions is not None
    (best,) = result.predictions
    assert best.label == "no"
    assert best.score == pytest.approx(1 - share_of("hello"), abs=1e-5)
    assert (found.units, result.cached) == (10, False)
    again = replaying.replay(PredictRequest("large", "hello"), tenant=acme.tenant)
    assert runtime.computed == ["hello", "hello"], "no cache had a part in it"
    assert again.answer.units == 10
    ledger.assert_untouched(acme)
    assert redis.cache().keys("*") == []


def test_an_input_that_breaks_the_model_is_the_calls_own_failure(acme: Customer, runtime: TinyRuntime) -> None:
    with pytest.raises(PlatformError) as caught:
        replaying.replay(PredictRequest("large", POISON), tenant=acme.tenant)
    assert caught.value.kind is ErrorKind.UNAVAILABLE
    ledger.assert_untouched(acme)


def test_what_would_refuse_the_call_refuses_its_replay(acme: Customer, runtime: TinyRuntime) -> None:
    make_version("vector", labels=[], output_schema={"kind": "embedding", "dimensions": 2})
    make_version("large", "2.0.0", VersionState.READY)
    schedule = make_schedule("model_version", "large@1.0.0", "large@2.0.0", sunset_in_days=-1)
    refused = {
        "nothing": ErrorKind.NOT_FOUND,
        "": ErrorKind.NOT_FOUND,
        "vector": ErrorKind.INVALID_INPUT,
        schedule.subject: ErrorKind.GONE,
    }
    for model, kind in refused.items():
        with pytest.raises(PlatformError) as caught:
            replaying.replay(PredictRequest(model, "hello", top_k=1), tenant=acme.tenant)
        assert (caught.value.kind, model) == (kind, model)
    with pytest.raises(PlatformError) as caught:
        replaying.replay(PredictRequest("large", "hello"), tenant=acme.tenant, allowed_models=["other"])
    assert caught.value.kind is ErrorKind.NOT_FOUND
    assert runtime.computed == []


def test_it_waits_while_batches_of_others_wait_but_not_for_ever() -> None:
    redis.state().rpush(GPU, "a batch")
    assert not replaying.wait_for_idle_workers(within_s=0.0)
    taken = threading.Timer(0.05, redis.state().delete, (GPU,))
    taken.start()
    assert replaying.wait_for_idle_workers(within_s=60.0)
    assert not redis.state().exists(GPU)
    taken.join()


def test_a_text_that_is_too_long_is_refused_or_cut_as_the_call_asks(acme: Customer, tiny_worker: TinyWorker) -> None:
    """v1 cuts and v2 refuses: a rehearsal tells which calls that concerns."""
    tiny_worker.worker.heartbeat.beat()
    runtime = tiny_worker.serve(make_version("large"), max_tokens=4)
    found = replaying.replay(PredictRequest("large", "one two three", truncate=TO_LIMIT), tenant=acme.tenant)
    (result,) = found.answer.results
    assert not isinstance(result, PlatformError)
    assert (result.truncated, runtime.computed) == (TextLength(5, 4), ["one two"])
    with pytest.raises(PlatformError) as caught:
        replaying.replay(PredictRequest("large", "one two three"), tenant=acme.tenant)
    assert (caught.value.kind, caught.value.field) == (ErrorKind.INVALID_INPUT, "input")
    assert "5 tokens" in caught.value.detail
    assert len(tiny_worker.batches) == 2, "what is refused is not tried again"
    ledger.assert_untouched(acme)
