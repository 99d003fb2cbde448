"""The gRPC side of the protocol as its own stub sees it: typed contents, malformed calls, metadata beside the message."""

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from inference.grpc.generated import open_inference_pb2 as pb
from inference.grpc.generated import open_inference_pb2_grpc
from inference.rest.prediction_declarations import DIGIT
from mlplatform.lib.errors import ErrorKind
from tests.conftest import Customer
from tests.support import ledger, waiting
from tests.support.grpc import Answered, Grpc, Problem, assert_problem, grpc_server, grpc_target
from tests.support.live_worker import LiveWorker
from tests.support.rest import structured_list
from tests.support.tiny_model import TinyWorker, make_version, share_of, tiny_worker

__all__ = ["grpc_server", "grpc_target", "tiny_worker"]

pytestmark = pytest.mark.usefixtures("prices")

FLAT = [number for row in DIGIT for number in row]


@pytest.fixture
def client(acme: Customer, grpc_target: str, live_worker: LiveWorker) -> Iterator[Grpc]:
    with Grpc(grpc_target, acme) as client:
        client.stub = open_inference_pb2_grpc.GRPCInferenceServiceStub(client.channel)
        yield client


def infer(client: Grpc, request: pb.ModelInferRequest, **metadata: str) -> Answered:
    pairs = tuple((name.replace("_", "-"), value) for name, value in metadata.items())
    return client.call(client.stub.ModelInfer, request, headers=pairs, timeout=30)


def text_request(*texts: bytes, model: str = "sentiment", **more: Any) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name=model, **more)
    tensor = request.inputs.add(name="text", datatype="BYTES", shape=[len(texts)])
    tensor.contents.bytes_contents.extend(texts)
    return request


@pytest.mark.parametrize(
    ("datatype", "field"),
    [
        ("FP32", "fp32_contents"),
        ("INT8", "int_contents"),
        ("INT32", "int_contents"),
        ("INT64", "int64_contents"),
        ("UINT16", "uint_contents"),
        ("UINT64", "uint64_contents"),
    ],
)
def test_typed_contents_of_numbers(client: Grpc, datatype: str, field: str) -> None:
    request = pb.ModelInferRequest(model_name="digits")
    tensor = request.inputs.add(name="input", datatype=datatype, shape=[1, 8, 8])
    getattr(tensor.contents, field).extend([int(number) for number in FLAT])
    answer = infer(client, request).message
    assert [output.name for output in answer.outputs] == ["labels", "scores"]
    assert answer.raw_output_contents[0][:5] == b"\x01\x00\x00\x000"
    assert len(np.frombuffer(answer.raw_output_contents[1], "<f4")) == 10


RAW = b"\x05\x00\x00\x00Good."


def raw_request(size: int) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="sentiment", raw_input_contents=[RAW])
    request.inputs.add(name="text", datatype="BYTES", shape=[1]).parameters["binary_data_size"].int64_param = size
    return request


def test_the_size_of_raw_contents_may_be_said_too(acme: Customer, client: Grpc) -> None:
    """KServe's client says it, as over HTTP; another size than that of the contents is a broken call."""
    for wrong in (len(RAW) - 1, len(RAW) + 1, -1):
        with pytest.raises(Problem, match=r"inputs\[0\]\.parameters\.binary_data_size: ") as caught:
            infer(client, raw_request(wrong))
        assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    typed = text_request(b"Good.")
    typed.inputs[0].parameters["binary_data_size"].int64_param = len(RAW)
    with pytest.raises(Problem, match="goes with raw_input_contents"):
        infer(client, typed)
    ledger.assert_untouched(acme)
    assert infer(client, raw_request(len(RAW))).message.outputs[0].shape == [1, 2]


def test_the_answer_is_typed_where_the_call_says_so(client: Grpc) -> None:
    request = text_request(b"What a wonderful morning!", id="my call")
    request.parameters["binary_data_output"].bool_param = False
    answer = infer(client, request).message
    assert answer.id == "my call"
    assert not answer.raw_output_contents
    assert list(answer.outputs[0].contents.bytes_contents) == [b"positive", b"negative"]
    assert sum(answer.outputs[1].contents.fp32_contents) == pytest.approx(1, abs=1e-4)
    assert list(answer.outputs[1].shape) == [1, 2]
    assert answer.parameters["units"].int64_param == 1
    assert answer.parameters["cached"].bool_param is False


def test_scores_are_the_models_own_floats(acme: Customer, grpc_target: str, tiny_worker: TinyWorker) -> None:
    """Raw or typed, computed or cached; the digits that JSON has would sum to something else than 1."""
    tiny_worker.serve(make_version())
    own = [1 - share_of("hello"), share_of("hello")]
    with Grpc(grpc_target, acme) as client:
        client.stub = open_inference_pb2_grpc.GRPCInferenceServiceStub(client.channel)
        for _ in ("computed", "cached"):
            raw = infer(client, text_request(b"hello", model="tiny")).message.raw_output_contents[1]
            assert np.frombuffer(raw, "<f4").tolist() == own
        request = text_request(b"hello", model="tiny")
        request.parameters["binary_data_output"].bool_param = False
        assert list(infer(client, request).message.outputs[1].contents.fp32_contents) == own


def test_metadata_beside_the_answer(client: Grpc) -> None:
    answered = infer(client, text_request(b"Good."), x_request_id="order-17")
    assert answered.headers["x-request-id"] == "order-17"
    assert answered.headers["x-cache"] == "MISS"
    assert structured_list(answered.headers["ratelimit"])["included"]["r"] == 999_999
    assert infer(client, text_request(b"Good.")).headers["x-cache"] == "HIT"


def broken(change: Any) -> pb.ModelInferRequest:
    request = text_request(b"Good.")
    change(request)
    return request


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda request: request.inputs[0].contents.bytes_contents.append(b"x"), "inputs[0].data"),
        (lambda request: request.raw_input_contents.append(b"\x01\x00\x00\x00x"), "inputs[0].contents"),
        (lambda request: request.raw_input_contents.extend([b"", b""]), "raw_input_contents"),
        (lambda request: request.inputs[0].ClearField("contents"), "inputs[0].data"),
        (lambda request: request.inputs[0].shape.append(2), "inputs[0].shape"),
        (lambda request: request.inputs[0].shape.__setitem__(0, -1), "inputs[0].shape"),
        (lambda request: request.inputs[0].shape.__setitem__(0, 2**62), "inputs[0].shape"),
        (lambda request: request.inputs[0].ClearField("shape"), "inputs[0].shape"),
        (lambda request: request.ClearField("inputs"), "inputs"),
        (lambda request: request.inputs.add(name="text", datatype="BYTES", shape=[1]), "inputs[1].name"),
        (lambda request: setattr(request.inputs[0], "datatype", "FP32"), "inputs[0].datatype"),
        (lambda request: request.inputs[0].contents.bytes_contents.__setitem__(0, b"\xff"), "inputs[0].data[0]"),
        (lambda request: request.inputs[0].contents.bytes_contents.__setitem__(0, b"a\x00"), "inputs[0].data[0]"),
        (lambda request: request.parameters["top_k"], "top_k"),
        (lambda request: request.outputs.extend([request.outputs.add(name="labels")]), "outputs[1].name"),
    ],
)
def test_a_broken_call_names_its_place(acme: Customer, client: Grpc, change: Any, field: str) -> None:
    if field == "top_k":
        request = broken(lambda request: setattr(request.parameters["top_k"], "double_param", 1.5))
        field = "parameters.top_k"
    else:
        request = broken(change)
    with pytest.raises(Problem) as caught:
        infer(client, request)
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert field in caught.value.message
    ledger.assert_untouched(acme)


def test_bytes_that_are_no_message(acme: Customer, client: Grpc) -> None:
    with pytest.raises(Problem) as caught:
        client.raw("/inference.GRPCInferenceService/ModelInfer", b"\xff\xff\xff")
    assert_problem(caught.value, ErrorKind.MALFORMED, grpc.StatusCode.INVALID_ARGUMENT)
    ledger.assert_untouched(acme)


def test_a_call_that_its_caller_gives_up_is_not_charged(
    acme: Customer, grpc_target: str, tiny_worker: TinyWorker
) -> None:
    tiny_worker.serve(make_version())
    tiny_worker.go.clear()
    with Grpc(grpc_target, acme) as client:
        stub = open_inference_pb2_grpc.GRPCInferenceServiceStub(client.channel)
        request = text_request(b"hello", model="tiny")
        with pytest.raises(Problem) as late:
            client.call(stub.ModelInfer, request, headers=(), timeout=1.0)
        assert late.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
        waiting.until(lambda: ledger.holds(acme.tenant), lambda holds: holds == 0)
        pending = stub.ModelInfer.future(request, metadata=client.auth, timeout=30)
        waiting.until(lambda: ledger.holds(acme.tenant), lambda holds: holds > 0)
        pending.cancel()
        waiting.until(lambda: ledger.holds(acme.tenant), lambda holds: holds == 0)
    ledger.assert_untouched(acme)
