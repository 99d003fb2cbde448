"""``Predict``: the answer, what stands beside it, and what it costs."""

import struct
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from inference.grpc.generated import ml_inference_pb2 as pb
from inference.models import MLModel
from tests.conftest import Customer
from tests.support import ledger
from tests.support.grpc import Grpc, Problem
from tests.support.rest import structured_list
from tests.support.tiny_model import TinyWorker
from tests.support.waiting import until

NUMBERS = [0.5, -1.25, 3.0, 0.0, -0.0, 10.0]


def test_an_answer_says_what_rest_says(api: Grpc, acme: Customer) -> None:
    answered = api.predict(model_name="tiny", text="What a wonderful morning!", headers=[("x-request-id", "my-call")])
    message = answered.message
    # The model's own floats; JSON says 0.804688 and 0.195312.
    assert [(item.label, item.score) for item in message.predictions] == [("no", 0.8046875), ("yes", 0.1953125)]
    assert (message.model_name, message.model_version) == ("tiny", "1.0.0")
    assert (message.units, message.cached, message.age_s) == (1, False, 0)
    assert message.request_id == answered.headers["x-request-id"] == "my-call"
    assert not message.HasField("status")
    assert message.latency_ms > 0
    assert {name: state["r"] for name, state in structured_list(answered.headers["ratelimit"]).items()} == {
        "burst": 999,
        "included": 999_999,
    }
    assert structured_list(answered.headers["ratelimit-policy"])["burst"]["q"] == 1000
    assert answered.headers["x-ratelimit-limit"] == "1000"
    assert answered.headers["x-cache"] == "MISS"
    assert "deprecation" not in answered.headers
    (record,) = ledger.records(acme.tenant)
    assert record.units == 1
    assert record.body["api_version"] == "grpc"
    assert record.body["request_id"] == "my-call"
    assert "grpc-python" in record.body["client"]


def test_metadata_comes_with_answers_of_the_loop_and_of_threads(api: Grpc, grpc_target: str) -> None:
    by_thread = api.predict(model_name="tiny", text="x").headers
    by_loop = api.predict(model_name="tiny", text="y").headers
    assert set(by_loop) == set(by_thread) >= {"x-request-id", "traceparent", "ratelimit", "x-cache"}
    with Grpc(grpc_target) as stranger, pytest.raises(Problem) as refused:
        stranger.predict(model_name="tiny", text="x")
    assert refused.value.headers["x-request-id"] == refused.value.trailers["x-request-id"]


def test_a_call_of_one_input_holds_no_thread_while_it_waits(
    request: pytest.FixtureRequest, tiny_worker: TinyWorker, settings: Any
) -> None:
    settings.GRPC_THREADS = 1
    api: Grpc = request.getfixturevalue("api")
    api.predict(model_name="tiny", text="the first call of a caller goes to a thread, which reads the key")
    tiny_worker.go.clear()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(api.predict, model_name="tiny", text="x")
        until(lambda: ledger.holds(request.getfixturevalue("acme").tenant), lambda holds: holds == 1)
        (other,) = api.batch([pb.PredictRequest(model_name="nobody", text="y")], timeout=60).message.responses
        assert other.status.reason == "NOT_FOUND"
        tiny_worker.go.set()
        assert waiting.result().message.units == 1


def test_a_trace_goes_on(api: Grpc) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answered = api.predict(model_name="tiny", text="x", headers=[("traceparent", trace)])
    version, trace_id, span, flags = answered.headers["traceparent"].split("-")
    assert (version, trace_id, flags) == ("00", "0af7651916cd43dd8448eb211c80319c", "01")
    assert span != "b7ad6b7169203331"


def test_numbers_and_raw_numbers_are_the_same_input(api: Grpc, acme: Customer) -> None:
    MLModel.objects.update(cache_ttl_s=300)
    first = api.predict(model_name="grid", features=NUMBERS)
    second = api.predict(model_name="grid", features_raw=struct.pack("<6f", *NUMBERS))
    assert first.headers["x-cache"] == "MISS"
    assert second.headers["x-cache"] == "HIT"
    assert int(second.headers["age"]) >= 0
    assert (first.message.cached, second.message.cached) == (False, True)
    assert second.message.predictions == first.message.predictions
    assert (first.message.units, second.message.units) == (1, 0)
    assert ledger.units(acme.tenant) == 1


@pytest.mark.parametrize(
    ("header", "computed"), [("no-cache", 2), ("no-store", 2), ("max-age=60", 1), ("max-age=0", 2)]
)
def test_cache_control_counts_as_in_http(api: Grpc, tiny_worker: TinyWorker, header: str, computed: int) -> None:
    MLModel.objects.update(cache_ttl_s=300)
    api.predict(model_name="tiny", text="again")
    api.predict(model_name="tiny", text="again", headers=[("cache-control", header)])
    assert tiny_worker.computed == ["again"] * computed


def test_an_embedding_comes_as_numbers(api: Grpc) -> None:
    message = api.predict(model_name="vector", features=[1, 2, 3, 4]).message
    assert len(message.embedding) == 4
    assert not message.predictions


def test_as_many_labels_as_wanted(api: Grpc) -> None:
    assert [item.label for item in api.predict(model_name="tiny", text="x", top_k=1).message.predictions] == ["no"]


def test_notes_and_the_id_come_back(api: Grpc, acme: Customer) -> None:
    request = pb.PredictRequest(model_name="tiny", text="x", id="item-7", metadata={"row": "7", "source": "täst"})
    message = api.predict(request).message
    assert dict(message.metadata) == {"row": "7", "source": "täst"}
    assert message.request_id == "item-7"
    assert [record.body["request_id"] for record in ledger.records(acme.tenant)] == ["item-7"]


def test_the_default_model_of_the_tenant(api: Grpc, acme: Customer) -> None:
    type(acme.tenant).objects.update(default_model="tiny")
    assert api.predict(text="x").message.model_name == "tiny"


def test_x_api_key_opens_too(grpc_target: str, api: Grpc, acme: Customer) -> None:
    with Grpc(grpc_target) as stranger:
        assert stranger.predict(model_name="tiny", text="x", headers=[("x-api-key", acme.secret)]).message.units == 1
