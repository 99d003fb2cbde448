"""KServe's own clients, REST and gRPC, unchanged, against real servers."""

from pathlib import Path
from typing import Any

import pytest
from pytest_django.live_server_helper import LiveServer

from inference.rest.prediction_declarations import DIGIT
from tests.conftest import Customer
from tests.support import clients, ledger
from tests.support.grpc import grpc_server, grpc_target
from tests.support.live_worker import LiveWorker

__all__ = ["grpc_server", "grpc_target"]

pytestmark = [pytest.mark.usefixtures("prices"), clients.needs_clients]

CLIENT = Path(__file__).with_name("kserve_client.py")
MORNING, RAIN = "What a wonderful morning!", "I hate this rain."


def texts(*values: str, way: str = "binary") -> dict[str, Any]:
    return {"name": "text", "datatype": "BYTES", "data": values, "as": way}


def images(*values: Any, datatype: str = "FP32", way: str = "binary") -> dict[str, Any]:
    return {"name": "input", "datatype": datatype, "data": values, "as": way}


def infer(customer: Customer, model: str, tensor: dict[str, Any], **more: Any) -> dict[str, Any]:
    arguments = {"model_name": model, "inputs": [tensor], "headers": {"authorization": f"Bearer {customer.secret}"}}
    return {"method": "infer", "arguments": arguments | more}


def ask(method: str, **arguments: Any) -> dict[str, Any]:
    return {"method": method, "arguments": arguments}


def calls_of(acme: Customer) -> list[dict[str, Any]]:
    """Every way in which the client hands over data, with what else it may say."""
    return [
        infer(acme, "sentiment", texts(MORNING), request_id="my call"),
        infer(acme, "sentiment", texts(MORNING, RAIN, way="json")),
        infer(acme, "sentiment", texts(RAIN, way="list")),
        infer(acme, "digits", images(DIGIT, DIGIT, way="array"), parameters={"top_k": 3}),
        infer(acme, "digits", images(DIGIT, datatype="FP16"), outputs=[{"name": "labels"}]),
        infer(acme, "minilm", texts("A cat sits."), parameters={"binary_data_output": True}),
    ]


def assert_answers(said: list[dict[str, Any]]) -> None:
    first, rows, rain, digits, labels, vector = [one.get("ok") or pytest.fail(str(one)) for one in said]
    assert (first["model"], first["id"]) == ("sentiment", "my call")
    assert first["outputs"]["labels"] == [["positive", "negative"]]
    assert [row[0] for row in rows["outputs"]["labels"]] == ["positive", "negative"]
    assert rain["outputs"]["labels"] == [["negative", "positive"]]
    assert [len(row) for row in digits["outputs"]["scores"]] == [3, 3]
    assert labels["outputs"].keys() == {"labels"}
    assert labels["outputs"]["labels"][0][0] == "0"
    assert len(vector["outputs"]["embedding"][0]) == 384


@pytest.mark.django_db(transaction=True)
def test_over_http(acme: Customer, ready_worker: LiveWorker, live_server: LiveServer) -> None:
    key = {"authorization": f"Bearer {acme.secret}"}
    said = clients.run(
        CLIENT,
        "http",
        f"{live_server.url}/oip",
        calls=[
            *calls_of(acme),
            ask("is_server_live"),
            ask("is_server_ready"),
            ask("is_model_ready", model_name="sentiment", headers=key),
            ask("is_model_ready", model_name="no-such", headers=key),
            # It writes the length of the JSON before binary data into the dictionary of headers that it is handed.
            infer(acme, "sentiment", texts(MORNING), same_headers=True),
            infer(acme, "sentiment", texts(f"{RAIN} {RAIN}", way="json"), same_headers=True),
            infer(acme, "sentiment", texts("Ah.", way="json"), same_headers=True),
        ],
    )
    assert_answers(said[:6])
    assert [one["ok"] for one in said[6:10]] == [True, True, True, False]
    assert [one["ok"]["outputs"]["labels"][0][0] for one in said[10:12]] == ["positive", "negative"]
    assert said[12]["ok"]["model"] == "sentiment"
    assert {record.body["api_version"] for record in ledger.records(acme.tenant)} == {"oip"}


@pytest.mark.django_db(transaction=True)
def test_a_model_in_the_body_that_the_address_does_not_name(
    acme: Customer, ready_worker: LiveWorker, live_server: LiveServer
) -> None:
    (said,) = clients.run(
        CLIENT,
        "http",
        f"{live_server.url}/oip",
        calls=[infer(acme, "digits", texts(MORNING), address="sentiment")],
    )
    assert said["type"] == "400"
    assert "model_name: The address names 'sentiment' and the body 'digits'" in said["error"]
    ledger.assert_untouched(acme)


def test_over_grpc(acme: Customer, ready_worker: LiveWorker, grpc_target: str) -> None:
    key = {"x-api-key": acme.secret}
    said = clients.run(
        CLIENT,
        "grpc",
        grpc_target,
        calls=[
            *calls_of(acme),
            ask("is_server_live"),
            ask("is_server_ready"),
            ask("is_model_ready", model_name="sentiment", headers=key),
            ask("is_model_ready", model_name="no-such", headers=key),
            infer(acme, "sentiment", texts(MORNING), model_version="2.0.0"),
            infer(acme, "sentiment", texts(MORNING, "")),
        ],
    )
    assert_answers(said[:6])
    assert [one["ok"] for one in said[6:10]] == [True, True, True, False]
    assert said[10]["ok"]["version"] == "2.0.0"
    assert said[11]["type"] == "INVALID_ARGUMENT"
    assert "inputs[0].data[1]: The text is empty." in said[11]["error"]
