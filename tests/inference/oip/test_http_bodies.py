"""Bodies of the HTTP face by hand: JSON and binary parts, fields that are wrong, sizes and compression."""

import gzip
import json
import zlib
from typing import Any

import numpy as np
import pytest
from pytest_django import Settings

from tests.conftest import Customer
from tests.inference.oip.by_hand import INFER, assert_refused, call
from tests.support import ledger
from tests.support.rest import Api, assert_limit_headers
from tests.support.tiny_model import TinyWorker, share_of

pytestmark = pytest.mark.usefixtures("prices")


def broken(change: Any) -> dict[str, Any]:
    body = call("hello")
    change(body)
    return body


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda body: body.pop("inputs"), "inputs: "),
        (lambda body: body.update(inputs={}), "inputs: "),
        (lambda body: body.update(inputs=[5]), "inputs[0]: "),
        (lambda body: body.update(outputs=5), "outputs: "),
        (lambda body: body.update(outputs=[{"name": 5}]), "outputs[0].name: "),
        (lambda body: body.update(outputs=[{"name": "labels", "data": 1}]), "outputs[0].data: "),
        (lambda body: body.update(outputs=[{"name": "labels", "parameters": {"binary_data": 1}}]), "binary_data: "),
        (lambda body: body.update(id=5), "id: "),
        (lambda body: body.update(id="x" * 257), "id: "),
        (lambda body: body.update(modelname="tiny"), "modelname: "),
        (lambda body: body.update(parameters=[]), "parameters: "),
        (lambda body: body.update(parameters={"topk": 1}), "parameters.topk: "),
        (lambda body: body.update(parameters={"top_k": 0}), "parameters.top_k: "),
        (lambda body: body.update(parameters={"timeout": 0}), "parameters.timeout: "),
        (lambda body: body["inputs"][0].pop("name"), "inputs[0].name: "),
        (lambda body: body["inputs"][0].pop("data"), "inputs[0].data: "),
        (lambda body: body["inputs"][0].pop("shape"), "inputs[0].shape: "),
        (lambda body: body["inputs"][0].pop("datatype"), "inputs[0].datatype: "),
        (lambda body: body["inputs"][0].update(datatype=5), "inputs[0].datatype: "),
        (lambda body: body["inputs"][0].update(shape=1), "inputs[0].shape: "),
        (lambda body: body["inputs"][0].update(extra=1), "inputs[0].extra: "),
        (lambda body: body["inputs"][0].update(parameters={"shared_memory_region": "x"}), "Shared memory"),
        (lambda body: body["inputs"][0].update(parameters={"binary_data_size": 4}), "inputs[0].data: "),
        (lambda body: body["inputs"][0].update(data=["hello", "x"]), "inputs[0].data: "),
        (lambda body: body["inputs"][0].update(data=["x" * 101]), "inputs[0].data[0]: "),
    ],
)
def test_a_wrong_field_is_named(acme: Customer, tiny: TinyWorker, change: Any, words: str) -> None:
    answer = Api(acme).post(INFER, broken(change))
    assert_refused(answer, 400, words)
    assert_limit_headers(answer)
    ledger.assert_untouched(acme)
    assert tiny.batches == []


BINARY = {"name": "text", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 9}}
HEAD = json.dumps({"inputs": [BINARY]}).encode()
DATA = b"\x05\x00\x00\x00hello"


@pytest.mark.parametrize(
    ("body", "length", "words"),
    [
        (HEAD + DATA, str(len(HEAD) + len(DATA) + 1), "Inference-Header-Content-Length"),
        (HEAD + DATA, "-1", "Inference-Header-Content-Length"),
        (HEAD + DATA, "²", "Inference-Header-Content-Length"),
        (HEAD + DATA, "9" * 5000, "Inference-Header-Content-Length"),
        (HEAD + DATA, "0", "not JSON"),
        (HEAD + DATA, "", "not UTF-8|not JSON"),
        (HEAD + DATA[:-1], str(len(HEAD)), "8 are left"),
        (HEAD + DATA + b"x", str(len(HEAD)), "belong to no input"),
        (b"\xff" + HEAD, "", "UTF-8"),
        (b"[]", "", "JSON object"),
        (b"", "", "not JSON"),
        (b'{"inputs": [], "inputs": []}', "", "twice"),
        (b"[" * 100_000, "", "nested"),
        (b'{"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [NaN]}]}', "", "NaN"),
        (b'{"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["\\ud800"]}]}', "", "surrogate"),
    ],
)
def test_a_body_that_cannot_be_read(acme: Customer, tiny: TinyWorker, body: bytes, length: str, words: str) -> None:
    headers = {"inference-header-content-length": length} if length else {}
    answer = Api(acme).post(INFER, body, headers=headers)
    assert answer.status == 400
    assert any(word in answer.body["error"] for word in words.split("|")), answer.body
    ledger.assert_untouched(acme)


def test_binary_data_behind_the_json(acme: Customer, tiny: TinyWorker) -> None:
    answer = Api(acme).post(INFER, HEAD + DATA, headers={"inference-header-content-length": str(len(HEAD))})
    assert answer.status == 200
    assert tiny.computed == ["hello"]


@pytest.mark.parametrize("length", ["", "0", "17", "99999"])
def test_json_to_its_end_with_the_length_of_another_call(acme: Customer, tiny: TinyWorker, length: str) -> None:
    """Clients write the header into the dictionary that they are handed, and a later call of JSON alone carries it on."""
    headers = {"inference-header-content-length": length} if length else {}
    answer = Api(acme).post(INFER, json.dumps(call("hello")).encode(), headers=headers)
    assert answer.status == 200
    assert tiny.computed == ["hello"]


def full() -> dict[str, Any]:
    """A call that says everything that it may."""
    body = call("hello", id="mine", model_name="tiny", model_version="1.0.0")
    body["inputs"][0]["parameters"] = {}
    body["outputs"] = [{"name": "scores", "parameters": {"binary_data": False, "classification": 2}}]
    body["parameters"] = {
        "top_k": 2,
        "timeout": 10_000_000,
        "binary_data_output": False,
        "priority": 1,
        "truncate": True,
    }
    return body


@pytest.mark.parametrize(
    "place",
    [
        ("id",),
        ("model_name",),
        ("model_version",),
        ("outputs",),
        ("parameters",),
        ("parameters", "top_k"),
        ("parameters", "timeout"),
        ("parameters", "binary_data_output"),
        ("parameters", "priority"),
        ("parameters", "truncate"),
        ("inputs", 0, "parameters"),
        ("outputs", 0, "parameters"),
        ("outputs", 0, "parameters", "binary_data"),
        ("outputs", 0, "parameters", "classification"),
        ("inputs",),
        ("inputs", 0, "name"),
        ("inputs", 0, "datatype"),
        ("inputs", 0, "shape"),
        ("inputs", 0, "data"),
        ("outputs", 0, "name"),
    ],
    ids=str,
)
def test_null_is_absent(acme: Customer, tiny: TinyWorker, place: tuple[Any, ...]) -> None:
    Api(acme).post(INFER, call("hello"))
    answers = []
    for null in (True, False):
        body = full()
        holder: Any = body
        for step in place[:-1]:
            holder = holder[step]
        if null:
            holder[place[-1]] = None
        else:
            del holder[place[-1]]
        answers.append(Api(acme).post(INFER, body))
    assert answers[0].body == answers[1].body
    needed = place == ("inputs",) or place[-1] in {"name", "datatype", "shape", "data"}
    assert [answer.status for answer in answers] == [400 if needed else 200] * 2


def test_a_mixed_answer_has_its_binary_part_last(acme: Customer, tiny: TinyWorker) -> None:
    wanted = [{"name": "scores", "parameters": {"binary_data": True}}, {"name": "labels"}]
    answer = Api(acme).post(INFER, call("hello", outputs=wanted))
    size = int(answer.headers["Inference-Header-Content-Length"])
    head = json.loads(answer.content[:size])
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert head["outputs"][0]["parameters"] == {"binary_data_size": 8}
    assert head["outputs"][1]["data"] == ["no", "yes"]
    assert len(answer.content) == size + 8


@pytest.mark.parametrize("cached", [False, True], ids=["computed", "cached"])
def test_binary_scores_are_the_models_own_floats_and_json_has_six_digits(
    acme: Customer, tiny: TinyWorker, cached: bool
) -> None:
    if cached:
        Api(acme).post(INFER, call("hello"))
    answer = Api(acme).post(INFER, call("hello", outputs=[{"name": "scores", "parameters": {"binary_data": True}}]))
    assert answer.headers["X-Cache"] == ("HIT" if cached else "MISS")
    assert np.frombuffer(answer.content[-8:], "<f4").tolist() == [1 - share_of("hello"), share_of("hello")]
    said = Api(acme).post(INFER, call("hello")).body["outputs"][1]["data"]
    assert said == [0.960938, 0.039062]
    classes = [{"name": "scores", "parameters": {"classification": 1}}]
    assert Api(acme).post(INFER, call("hello", outputs=classes)).body["outputs"][0]["data"] == ["0.960938:1:no"]


@pytest.mark.parametrize(
    ("encoding", "body", "status", "words"),
    [
        ("gzip", gzip.compress(b" " * 10_000_000, mtime=0), 413, "larger than"),
        ("deflate", zlib.compress(b" " * 10_000_000), 413, "larger than"),
        ("gzip", gzip.compress(HEAD, mtime=0)[:-5], 400, "cut off"),
        ("gzip", gzip.compress(b"{}", mtime=0) + b"more", 400, "follows"),
        ("gzip", HEAD, 400, "not gzip"),
        ("br", HEAD, 415, "br"),
        ("gzip, gzip", gzip.compress(gzip.compress(HEAD, mtime=0), mtime=0), 415, "gzip, gzip"),
    ],
)
def test_compressed_bodies_are_bounded(
    acme: Customer, tiny: TinyWorker, encoding: str, body: bytes, status: int, words: str
) -> None:
    assert_refused(Api(acme).post(INFER, body, headers={"content-encoding": encoding}), status, words)
    ledger.assert_untouched(acme)


def test_a_body_beyond_the_limit(acme: Customer, tiny: TinyWorker, settings: Settings) -> None:
    settings.MAX_BODY_BYTES = 1000
    assert_refused(Api(acme).post(INFER, call("x" * 1000)), 413, "1,000 bytes")
    ledger.assert_untouched(acme)
