"""``tritonclient``'s gRPC client, unchanged, against a real server."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from inference.grpc.generated import open_inference_pb2 as pb
from inference.rest.prediction_declarations import DIGIT
from tenants import api_keys
from tests.conftest import Customer, make_customer
from tests.support import ledger
from tests.support.grpc import grpc_server, grpc_target
from tests.support.live_worker import LiveWorker
from tests.support.suite import ROOT

__all__ = ["grpc_server", "grpc_target"]

pytestmark = [
    pytest.mark.usefixtures("prices"),
    pytest.mark.skipif(importlib.util.find_spec("tritonclient") is None, reason="tritonclient is not installed"),
]

MORNING, RAIN = "What a wonderful morning!", "I hate this rain."
Call = tuple[str, dict[str, Any]]


def triton(target: str, *calls: Call, client: str = "threads") -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.inference.oip.triton_grpc", target, client],
        input=json.dumps(calls),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    said: list[dict[str, Any]] = json.loads(done.stdout)
    return said


def texts(*values: str) -> dict[str, Any]:
    return {"name": "text", "datatype": "BYTES", "data": values}


def images(*values: Any, datatype: str = "FP32") -> dict[str, Any]:
    return {"name": "input", "datatype": datatype, "data": values}


def infer(customer: Customer | str, model: str, tensor: dict[str, Any], **more: Any) -> Call:
    secret = customer if isinstance(customer, str) else customer.secret
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    return "infer", {"model_name": model, "inputs": [tensor], "headers": headers, **more}


def test_the_wire_is_the_clients_own() -> None:
    """Every field of ours has the number, type and label that it has there; only then any client can be trusted."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.inference.oip.triton_grpc", "wire"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    theirs = json.loads(done.stdout)
    ours = dict(fields_of(pb.DESCRIPTOR.message_types_by_name.values(), ""))
    assert len(ours) >= 50
    assert ours == {name: theirs.get(name) for name in ours}
    (service,) = pb.DESCRIPTOR.services_by_name.values()
    assert service.full_name == "inference.GRPCInferenceService"
    assert [method.name for method in service.methods] == [
        "ServerLive",
        "ServerReady",
        "ModelReady",
        "ServerMetadata",
        "ModelMetadata",
        "ModelInfer",
    ]


def fields_of(messages: Any, prefix: str) -> Iterator[tuple[str, list[Any]]]:
    for message in messages:
        name = f"{prefix}{message.name}"
        for field in message.fields:
            yield f"{name}.{field.name}", [field.number, field.type, field.is_repeated]
        yield from fields_of(message.nested_types, f"{name}.")


def test_health_and_metadata(acme: Customer, ready_worker: LiveWorker, grpc_target: str) -> None:
    key = {"headers": {"x-api-key": acme.secret}}
    said = triton(
        grpc_target,
        ("is_server_live", {}),
        ("is_server_ready", {}),
        ("get_server_metadata", {"as_json": True}),
        ("is_model_ready", {"model_name": "sentiment", **key}),
        ("is_model_ready", {"model_name": "sentiment", "model_version": "9.9.9", **key}),
        ("get_model_metadata", {"model_name": "digits", "as_json": True, **key}),
        ("get_model_metadata", {"model_name": "no-such", "as_json": True, **key}),
        ("is_model_ready", {"model_name": "sentiment"}),
        ("get_model_config", {"model_name": "sentiment", **key}),
    )
    assert [one.get("ok") for one in said[:2]] == [True, True]
    assert "binary_tensor_data" in said[2]["ok"]["extensions"]
    assert [one.get("ok") for one in said[3:5]] == [True, False]
    assert said[5]["ok"]["inputs"] == [{"name": "input", "datatype": "FP32", "shape": ["-1", "8", "8"]}]
    assert [output["name"] for output in said[5]["ok"]["outputs"]] == ["labels", "scores"]
    assert said[5]["ok"]["versions"] == ["1.0.0"]
    assert [one.get("status") for one in said[6:]] == [
        "StatusCode.NOT_FOUND",
        "StatusCode.UNAUTHENTICATED",
        "StatusCode.UNIMPLEMENTED",
    ]


def test_answers(acme: Customer, live_worker: LiveWorker, grpc_target: str) -> None:
    wanted = [{"name": "scores", "class_count": 2}]
    said = triton(
        grpc_target,
        infer(acme, "sentiment", texts(MORNING), request_id="my call"),
        infer(acme, "sentiment", texts(MORNING, RAIN), model_version="2.0.0"),
        infer(acme, "digits", images(DIGIT, DIGIT, datatype="INT64"), parameters={"top_k": 3}),
        infer(acme, "minilm", texts("A cat sits.")),
        infer(acme, "digits", images(DIGIT), outputs=[{"name": "labels"}]),
        infer(acme, "digits", images(DIGIT), outputs=wanted, compression_algorithm="gzip"),
        infer(acme, "sentiment", texts(RAIN), priority=3, timeout=20_000_000, client_timeout=30),
    )
    first, rows, digits, vector, labels, classes, first_of_all = [one["ok"] for one in said]
    assert (first["model"], first["version"], first["id"]) == ("sentiment", "1.0.0", "my call")
    assert first["outputs"]["labels"] == [["positive", "negative"]]
    assert sum(first["outputs"]["scores"][0]) == pytest.approx(1, abs=2e-7)
    assert (rows["version"], [row[0] for row in rows["outputs"]["labels"]]) == ("2.0.0", ["positive", "negative"])
    assert [len(row) for row in digits["outputs"]["scores"]] == [3, 3]
    assert len(vector["outputs"]["embedding"][0]) == 384
    assert list(labels["outputs"]) == ["labels"]
    assert classes["outputs"]["scores"][0][0].endswith(":0:0")
    assert first_of_all["outputs"]["labels"] == [["negative", "positive"]]
    assert {record.body["api_version"] for record in ledger.records(acme.tenant)} == {"oip"}
    assert {record.body["operation"] for record in ledger.records(acme.tenant)} == {"predict", "batch"}


def test_the_client_for_asyncio(acme: Customer, ready_worker: LiveWorker, grpc_target: str) -> None:
    key = {"headers": {"x-api-key": acme.secret}}
    calls = [
        ("is_server_ready", {}),
        ("is_model_ready", {"model_name": "sentiment", **key}),
        infer(acme, "sentiment", texts(MORNING, RAIN), priority=1),
        infer(acme, "no-such", texts(MORNING)),
    ]
    ready, model, rows, missing = triton(grpc_target, *calls, client="aio")
    assert (ready["ok"], model["ok"]) == (True, True)
    assert [row[0] for row in rows["ok"]["outputs"]["labels"]] == ["positive", "negative"]
    assert missing["status"] == "StatusCode.NOT_FOUND"


def test_what_is_wrong_is_said_and_not_charged(acme: Customer, live_worker: LiveWorker, grpc_target: str) -> None:
    reader = api_keys.issue(tenant=acme.tenant, name="Reader", scopes=["models:read"]).secret
    single = api_keys.issue(tenant=acme.tenant, name="Single", scopes=["predict"]).secret
    nan = [[*row[:7], float("nan")] for row in DIGIT]
    cases = [
        (infer(acme, "digits", images(nan)), "INVALID_ARGUMENT", "inputs[0].data[0][0][7]: Each number must lie"),
        (infer(acme, "digits", images([row[:7] for row in DIGIT])), "INVALID_ARGUMENT", "shape [n, 8, 8]"),
        (infer(acme, "digits", images(DIGIT, datatype="FP64")), "INVALID_ARGUMENT", "not FP64"),
        (infer(acme, "digits", texts(MORNING)), "INVALID_ARGUMENT", "no input 'text'"),
        (infer(acme, "sentiment", texts(MORNING, "")), "INVALID_ARGUMENT", "inputs[0].data[1]: The text is empty."),
        (infer(acme, "sentiment", texts(MORNING), outputs=[{"name": "x"}]), "INVALID_ARGUMENT", "labels, scores"),
        (
            infer(acme, "sentiment", texts(MORNING), sequence_id=7, sequence_start=True),
            "INVALID_ARGUMENT",
            "parameters.sequence_id: Models here keep nothing between two calls",
        ),
        (infer(acme, "sentiment", texts(MORNING), model_version="9.9.9"), "NOT_FOUND", "sentiment@9.9.9"),
        (infer(acme, "no-such", texts(MORNING)), "NOT_FOUND", "no-such"),
        (infer("", "sentiment", texts(MORNING)), "UNAUTHENTICATED", "API key"),
        (infer(reader, "sentiment", texts(MORNING)), "PERMISSION_DENIED", "'predict'"),
        (infer(single, "sentiment", texts(MORNING, RAIN)), "PERMISSION_DENIED", "'batch'"),
        (infer(acme, "sentiment", texts("x" * 5_000_000)), "RESOURCE_EXHAUSTED", "larger than max"),
    ]
    said = triton(grpc_target, *(call for call, _, _ in cases))
    for one, (_, status, words) in zip(said, cases, strict=True):
        assert one.get("status") == f"StatusCode.{status}", (one, words)
        assert words in one["message"]
    ledger.assert_untouched(acme)


def test_a_used_up_limit_refuses(live_worker: LiveWorker, grpc_target: str, db: None) -> None:
    small = make_customer("small", included_units=60)
    first, second = triton(
        grpc_target,
        infer(small, "sentiment", texts(MORNING, RAIN)),
        infer(small, "sentiment", texts("One more.", "And another.")),
    )
    assert first["ok"]["outputs"]["labels"][0][0] == "positive"
    assert second["status"] == "StatusCode.RESOURCE_EXHAUSTED"
    assert ledger.units(small.tenant) == 52
