"""``tritonclient``'s HTTP client, unchanged, against a real server: it is the judge of this face."""

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from pytest_django.live_server_helper import LiveServer

from inference.models import MLModel, ModelVersion
from inference.registry import versions
from inference.rest.prediction_declarations import DIGIT
from tenants import api_keys
from tests.conftest import Customer, make_customer
from tests.support import ledger
from tests.support.live_worker import LiveWorker
from tests.support.rest import structured_list

triton = pytest.importorskip("tritonclient.http")
InferenceServerException = pytest.importorskip("tritonclient.utils").InferenceServerException

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("prices")]

MORNING, RAIN = "What a wonderful morning!", "I hate this rain."


@pytest.fixture
def client(live_server: LiveServer) -> Iterator[Any]:
    address = live_server.url.removeprefix("http://")
    with triton.InferenceServerClient(url=f"{address}/oip", network_timeout=60.0) as client:
        yield client


@pytest.fixture
def key(acme: Customer) -> dict[str, str]:
    return {"authorization": f"Bearer {acme.secret}"}


def texts(*values: str, binary: bool = True, column: bool = False) -> Any:
    array = np.array([value.encode() for value in values], dtype=np.object_)
    array = array.reshape(-1, 1) if column else array
    tensor = triton.InferInput("text", list(array.shape), "BYTES")
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


def numbers(array: Any, datatype: str = "FP32", *, binary: bool = True) -> Any:
    tensor = triton.InferInput("input", list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


def image(*, rows: int = 1) -> Any:
    return np.stack([np.array(DIGIT, dtype=np.float32)] * rows)


def test_health_and_server_need_no_key(client: Any, live_worker: LiveWorker) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    metadata = client.get_server_metadata()
    assert metadata["name"] == "mlplatform"
    assert "binary_tensor_data" in metadata["extensions"]


def test_a_server_without_workers_is_live_and_not_ready(client: Any) -> None:
    assert client.is_server_live()
    assert not client.is_server_ready()


def test_models_say_what_they_take(client: Any, key: dict[str, str], live_worker: LiveWorker) -> None:
    sentiment = client.get_model_metadata("sentiment", headers=key)
    assert sentiment["versions"] == ["1.0.0", "2.0.0"]
    assert sentiment["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert [output["name"] for output in sentiment["outputs"]] == ["labels", "scores"]
    assert sentiment["parameters"] == {"labels": ["negative", "positive"], "max_tokens": 256}
    digits = client.get_model_metadata("digits", "1.0.0", headers=key)
    assert digits["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 8, 8]}]
    minilm = client.get_model_metadata("minilm", headers=key)
    assert minilm["outputs"] == [{"name": "embedding", "datatype": "FP32", "shape": [-1, 384]}]
    assert client.is_model_ready("sentiment", headers=key)
    assert client.is_model_ready("sentiment", "2.0.0", headers=key)
    assert not client.is_model_ready("sentiment", "9.9.9", headers=key)
    assert not client.is_model_ready("no-such", headers=key)
    assert not client.is_model_ready("sentiment")


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_one_text(acme: Customer, client: Any, key: dict[str, str], live_worker: LiveWorker, binary: bool) -> None:
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("labels", "scores")]
    result = client.infer("sentiment", [texts(MORNING, binary=binary)], outputs=outputs, headers=key)
    labels, scores = result.as_numpy("labels"), result.as_numpy("scores")
    assert labels.shape == scores.shape == (1, 2)
    assert scores.dtype == np.float32
    assert [label if isinstance(label, str) else label.decode() for label in labels[0]] == ["positive", "negative"]
    assert scores[0][0] > scores[0][1]
    answer = result.get_response()
    assert (answer["model_name"], answer["model_version"]) == ("sentiment", "1.0.0")
    assert answer["parameters"] == {"units": 1, "cached": False}
    (record,) = ledger.records(acme.tenant)
    assert (record.units, record.body["operation"], record.body["api_version"]) == (1, "predict", "oip")


def test_all_outputs_are_binary_where_none_is_asked_for(
    client: Any, key: dict[str, str], live_worker: LiveWorker
) -> None:
    result = client.infer("sentiment", [texts(MORNING)], request_id="my call", headers=key)
    assert result.as_numpy("labels").tolist() == [[b"positive", b"negative"]]
    assert result.get_response()["id"] == "my call"
    assert result.get_output("scores")["parameters"] == {"binary_data_size": 8}


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_rows_are_a_batch(
    acme: Customer, client: Any, key: dict[str, str], live_worker: LiveWorker, binary: bool
) -> None:
    result = client.infer("sentiment", [texts(MORNING, RAIN, MORNING, binary=binary, column=True)], headers=key)
    assert result.as_numpy("labels")[:, 0].tolist() == [b"positive", b"negative", b"positive"]
    assert {record.body["operation"] for record in ledger.records(acme.tenant)} == {"batch"}
    assert result.get_response()["parameters"]["units"] == ledger.units(acme.tenant)
    assert ledger.units(acme.tenant) >= 52


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize(
    ("dtype", "datatype"),
    [("f4", "FP32"), ("i1", "INT8"), ("u1", "UINT8"), ("i4", "INT32"), ("i8", "INT64"), ("u8", "UINT64")],
)
def test_images_of_many_types(
    client: Any, key: dict[str, str], live_worker: LiveWorker, dtype: str, datatype: str, binary: bool
) -> None:
    result = client.infer("digits", [numbers(image(rows=2).astype(dtype), datatype, binary=binary)], headers=key)
    assert result.as_numpy("labels")[:, 0].tolist() == [b"0", b"0"]
    assert result.as_numpy("scores").shape == (2, 10)


def test_half_precision_and_a_row_without_its_first_dimension(
    acme: Customer, client: Any, key: dict[str, str], live_worker: LiveWorker
) -> None:
    result = client.infer("digits", [numbers(image()[0].astype(np.float16), "FP16")], headers=key)
    assert result.as_numpy("labels")[0][0] == b"0"
    assert [record.body["operation"] for record in ledger.records(acme.tenant)] == ["predict"]


def test_top_k_and_the_classification_extension(client: Any, key: dict[str, str], live_worker: LiveWorker) -> None:
    result = client.infer("digits", [numbers(image())], parameters={"top_k": 3}, headers=key)
    assert result.as_numpy("labels").shape == (1, 3)
    wanted = triton.InferRequestedOutput("scores", class_count=2)
    classes = client.infer("digits", [numbers(image())], outputs=[wanted], headers=key).as_numpy("scores")
    assert classes.shape == (1, 2)
    score, index, label = classes[0][0].decode().split(":")
    assert (index, label) == ("0", "0")
    assert float(score) == pytest.approx(float(result.as_numpy("scores")[0][0]), abs=1e-6)


def test_an_embedding(client: Any, key: dict[str, str], live_worker: LiveWorker) -> None:
    result = client.infer("minilm", [texts("A cat sits.", "A dog runs.")], headers=key)
    vectors = result.as_numpy("embedding")
    assert vectors.shape == (2, 384)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1], rel=1e-4)


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_compressed_calls(client: Any, key: dict[str, str], live_worker: LiveWorker, compression: str) -> None:
    result = client.infer(
        "sentiment",
        [texts(MORNING)],
        headers=key,
        request_compression_algorithm=compression,
        response_compression_algorithm=compression,
    )
    assert result.as_numpy("labels")[0][0] == b"positive"


def test_what_the_client_may_say_beside(client: Any, key: dict[str, str], live_worker: LiveWorker) -> None:
    result = client.infer(
        "sentiment",
        [texts(MORNING)],
        headers=key,
        priority=3,
        timeout=20_000_000,
        query_params={"trace": 1, "tenant": "acme"},
    )
    assert result.as_numpy("labels")[0][0] == b"positive"


def test_one_dictionary_of_headers_for_binary_and_json(
    client: Any, key: dict[str, str], live_worker: LiveWorker
) -> None:
    """The client writes the length of the JSON into it, and leaves it there for a call that has no binary part."""
    client.infer("sentiment", [texts(MORNING)], headers=key)
    assert "Inference-Header-Content-Length" in key
    labels = [triton.InferRequestedOutput("labels", binary_data=False)]
    for text in (RAIN, f"{RAIN} {RAIN} {RAIN}"):
        result = client.infer("sentiment", [texts(text, binary=False)], outputs=labels, headers=key)
        assert result.as_numpy("labels")[0][0] == "negative"


def test_the_client_for_asyncio(
    acme: Customer, live_server: LiveServer, key: dict[str, str], ready_worker: LiveWorker
) -> None:
    aio = pytest.importorskip("tritonclient.http.aio")

    async def talk() -> tuple[Any, ...]:
        address = live_server.url.removeprefix("http://")
        async with aio.InferenceServerClient(url=f"{address}/oip") as client:
            ready = await client.is_server_ready(), await client.is_model_ready("sentiment", headers=key)
            metadata = await client.get_model_metadata("digits", headers=key)
            result = await client.infer("sentiment", [texts(MORNING, RAIN)], headers=key)
            return *ready, metadata["inputs"][0]["shape"], result.as_numpy("labels")[:, 0].tolist()

    assert asyncio.run(talk()) == (True, True, [-1, 8, 8], [b"positive", b"negative"])


def test_many_calls_at_once(client: Any, key: dict[str, str], live_worker: LiveWorker) -> None:
    pending = [client.async_infer("sentiment", [texts(f"{MORNING} {n}")], headers=key) for n in range(8)]
    assert {one.get_result().as_numpy("labels")[0][0] for one in pending} == {b"positive"}


def test_what_is_wrong_is_said_and_not_charged(
    acme: Customer, client: Any, key: dict[str, str], live_worker: LiveWorker
) -> None:
    nan = image(rows=3)
    nan[2][3][4] = np.nan
    cases: list[tuple[str, Any, dict[str, Any], str, str]] = [
        ("digits", numbers(nan), {}, "400", "inputs[0].data[2][3][4]: Each number must lie between 0 and 16."),
        ("digits", numbers(np.full((1, 8, 8), np.inf, dtype="f4")), {}, "400", "inputs[0].data[0][0][0]"),
        ("digits", numbers(np.zeros((1, 8, 7), dtype="f4")), {}, "400", "shape [n, 8, 8], not [1, 8, 7]"),
        ("digits", numbers(np.zeros((1, 8, 8), dtype="f8"), "FP64"), {}, "400", "float32"),
        ("digits", texts(MORNING), {}, "400", "digits has no input 'text'; it takes 'input', of type FP32."),
        ("sentiment", texts(MORNING, " "), {}, "400", "inputs[0].data[1]: The text is empty."),
        ("sentiment", texts(MORNING), {"outputs": [triton.InferRequestedOutput("probs")]}, "400", "labels, scores"),
        ("sentiment", texts(MORNING), {"sequence_id": 7, "sequence_start": True}, "400", "sequence_id"),
        ("sentiment", texts(MORNING), {"model_version": "9.9.9"}, "404", "sentiment@9.9.9"),
        ("minilm", texts(MORNING), {"parameters": {"top_k": 2}}, "400", "no labels to choose from"),
        ("no-such", texts(MORNING), {}, "404", "no-such"),
    ]
    for model, tensor, more, status, words in cases:
        with pytest.raises(InferenceServerException) as caught:
            client.infer(model, [tensor], headers=key, **more)
        assert caught.value.status() == status, words
        assert words in caught.value.message()
    ledger.assert_untouched(acme)


def test_keys_scopes_and_limits_are_in_force(
    acme: Customer, client: Any, key: dict[str, str], live_worker: LiveWorker
) -> None:
    def refused(secret: str, *values: str) -> Any:
        with pytest.raises(InferenceServerException) as caught:
            client.infer("sentiment", [texts(*values)], headers={"x-api-key": secret} if secret else None)
        return caught.value

    assert refused("", MORNING).status() == "401"
    assert refused(acme.secret[:-1] + "x", MORNING).status() == "401"
    reader = api_keys.issue(tenant=acme.tenant, name="Reader", scopes=["models:read"])
    unscoped = refused(reader.secret, MORNING)
    assert unscoped.status() == "403"
    assert "'predict'" in unscoped.message()
    single = api_keys.issue(tenant=acme.tenant, name="Single", scopes=["predict"])
    assert "'batch'" in refused(single.secret, MORNING, RAIN).message()
    narrow = api_keys.issue(tenant=acme.tenant, name="Narrow", allowed_models=["digits"])
    assert refused(narrow.secret, MORNING).status() == "404"
    assert not client.is_model_ready("sentiment", headers={"x-api-key": narrow.secret})
    ledger.assert_untouched(acme)


def test_a_used_up_limit_refuses(client: Any, live_worker: LiveWorker) -> None:
    small = make_customer("small", included_units=60)
    key = {"x-api-key": small.secret}
    client.infer("sentiment", [texts(MORNING, RAIN)], headers=key)
    with pytest.raises(InferenceServerException) as caught:
        client.infer("sentiment", [texts("One more.", "And another.")], headers=key)
    assert caught.value.status() == "429"
    assert ledger.units(small.tenant) == 52


def test_headers_are_those_of_every_call(client: Any, key: dict[str, str], live_worker: LiveWorker) -> None:
    client.infer("sentiment", [texts(MORNING)], headers=dict(key))
    response = client._client_stub.get("/oip/v2/models/sentiment", headers=key | {"x-request-id": "order-17"})
    seen = {name.lower(): value for name, value in response.headers}
    assert seen["x-request-id"] == "order-17"
    assert structured_list(seen["ratelimit"])["included"]["r"] == 999_999


async def _ask_asynchronously(url: str, key: dict[str, str]) -> tuple[Any, Any]:
    aio = pytest.importorskip("tritonclient.http.aio")
    async with aio.InferenceServerClient(url=url) as client:
        metadata = await client.get_model_metadata("many", headers=key)
        output = aio.InferRequestedOutput("embedding", binary_data=False)
        result = await client.infer("minilm", [texts(MORNING, binary=False)], outputs=[output], headers=key)
        return metadata, result


def test_the_asynchronous_client_gets_what_it_can_unpack(
    live_server: LiveServer, key: dict[str, str], live_worker: LiveWorker
) -> None:
    """It says that it takes gzip, and unpacks the answers of infer alone."""
    labels = [f"label number {number}" for number in range(200)]
    digits = ModelVersion.objects.get(model__name="digits", state="live")
    digits.pk, digits.model, digits.labels = None, MLModel.objects.create(name="many"), labels
    digits.save()
    versions.forget()
    metadata, result = asyncio.run(_ask_asynchronously(f"{live_server.url.removeprefix('http://')}/oip", key))
    assert metadata["parameters"]["labels"] == labels
    assert result.as_numpy("embedding").shape == (1, 384)
