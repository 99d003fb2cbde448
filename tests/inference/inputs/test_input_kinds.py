"""Images and pairs of texts through every face: each gives what the loaded model itself says of the same input."""

import base64
import gzip
import json
import struct
from typing import Any

import numpy as np
import pytest

from inference.grpc.generated import open_inference_pb2 as oip_pb
from inference.grpc.generated import open_inference_pb2_grpc as oip_pb_grpc
from mlplatform.lib.errors import ErrorKind
from tests.conftest import Customer
from tests.support import ledger
from tests.support.grpc import Grpc, Problem, grpc_server, grpc_target
from tests.support.input_kinds import Kinds, file_of, kinds, picture
from tests.support.rest import Answer, Api, assert_problem, both_ways
from tests.support.tiny_model import tiny_worker

__all__ = ["both_ways", "grpc_server", "grpc_target", "kinds", "tiny_worker"]

pytestmark = pytest.mark.usefixtures("prices")

QUESTION, PASSAGE = "where is the cat ?", "the cat sat on the mat ."
FILE = file_of(picture())
ENCODED = base64.b64encode(FILE).decode()


def scores(answer: Answer) -> dict[str, float]:
    assert answer.status == 200, answer.body
    return {item["label"]: item["score"] for item in answer.body["predictions"]}


def expected(kinds: Kinds, model: str, value: Any, labels: list[str]) -> dict[str, Any]:
    return {
        label: pytest.approx(score, abs=1e-5)
        for label, score in zip(labels, kinds.answer(model, value).tolist(), strict=True)
    }


def form(*parts: tuple[str, bytes, str], boundary: str = "xyz") -> tuple[bytes, str]:
    """A multipart body; a part with a type is a file."""
    body = b""
    for name, content, media_type in parts:
        file = f'; filename="a"\r\nContent-Type: {media_type}' if media_type else ""
        body += (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + content + b"\r\n"
        )
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


@pytest.mark.usefixtures("both_ways")
def test_an_image_as_base64_as_bytes_and_in_a_form(acme: Customer, kinds: Kinds) -> None:
    wanted = expected(kinds, "photos", picture(), ["dark", "light"])
    api = Api(acme)
    assert scores(api.post("/v2/predict", {"model": "photos", "input": {"image": ENCODED}})) == wanted
    raw = api.call("POST", "/v2/predict?model=photos", content=FILE, content_type="image/png")
    assert scores(raw) == wanted
    assert raw.headers["X-Cache"] == "HIT", "it is the same input, whichever way it came"
    for content, headers in ((FILE, {}), (gzip.compress(FILE), {"content-encoding": "gzip"})):
        in_chunks = api.call(
            "POST", "/v2/predict?model=photos", content=content, content_type="image/png", headers=headers, chunked=True
        )
        assert scores(in_chunks) == wanted
    body, content_type = form(
        ("model", b"photos", ""), ("input", FILE, "image/png"), ("parameters", b'{"top_k": 1}', "")
    )
    best = scores(api.call("POST", "/v2/predict", content=body, content_type=content_type))
    assert best == dict([max(wanted.items(), key=lambda item: item[1].expected)])
    assert ledger.records(acme.tenant), "and it is charged"
    for blank in (b"", b"  "):
        body, content_type = form(("model", b"photos", ""), ("input", FILE, "image/png"), ("parameters", blank, ""))
        left_out = api.call("POST", "/v2/predict", content=body, content_type=content_type)
        assert scores(left_out) == wanted, "a part that was left blank is absent"


def test_the_address_can_name_the_model_of_an_image(acme: Customer, kinds: Kinds) -> None:
    wanted = expected(kinds, "photos", picture(), ["dark", "light"])
    answer = Api(acme).call("POST", "/v2/models/photos/predict", content=FILE, content_type="image/png")
    assert scores(answer) == wanted
    other = Api(acme).call("POST", "/v2/models/photos/predict?model=tiny", content=FILE, content_type="image/png")
    assert_problem(other, ErrorKind.INVALID_INPUT)
    assert other.body["field"] == "model"


def test_a_batch_of_images_and_pairs(acme: Customer, kinds: Kinds) -> None:
    requests = [
        {"model": "photos", "input": {"image": ENCODED}},
        {"model": "rerank", "input": {"text": QUESTION, "pair": PASSAGE}},
        {"model": "photos", "input": {"image": ENCODED[:80]}},
        {"model": "rerank", "input": {"text": QUESTION, "pair": " "}},
        {"model": "rerank", "input": {"text": QUESTION}},
    ]
    answer = Api(acme).post("/v2/batch-predict", {"requests": requests})
    photo, score, cut, empty, half = answer.body["responses"]
    assert {item["label"] for item in photo["predictions"]} == {"dark", "light"}
    assert score["scores"] == pytest.approx(kinds.answer("rerank", (QUESTION, PASSAGE)).tolist(), abs=1e-5)
    assert [problem["field"] for problem in (cut, empty, half)] == [
        "requests[2].input",
        "requests[3].input.pair",
        "requests[4].input",
    ]


def test_a_pair_of_texts(acme: Customer, kinds: Kinds) -> None:
    wanted = expected(kinds, "entails", (QUESTION, PASSAGE), ["yes", "no", "neither"])
    answer = Api(acme).post("/v2/predict", {"model": "entails", "input": {"text": QUESTION, "pair": PASSAGE}})
    assert scores(answer) == wanted


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize(
    ("content", "content_type", "kind", "field"),
    [
        (b"", "image/png", ErrorKind.INVALID_INPUT, "input"),
        (FILE[:40], "image/png", ErrorKind.INVALID_INPUT, "input"),
        (b"GIF89a" + FILE, "image/png", ErrorKind.INVALID_INPUT, "input"),
        (FILE, "image/gif", ErrorKind.UNSUPPORTED_MEDIA_TYPE, None),
        (b"--x", "multipart/form-data", ErrorKind.MALFORMED, None),
        (b'{"input": "x"}', "multipart/form-data; boundary=xyz", ErrorKind.MALFORMED, None),
        (form(("input", FILE, "image/png"), ("input", FILE, "image/png"))[0], "multipart/form-data; boundary=xyz",
         ErrorKind.MALFORMED, "input"),
        (form(("inputs", FILE, "image/png"))[0], "multipart/form-data; boundary=xyz", ErrorKind.INVALID_INPUT, "inputs"),
        (form(("input", FILE, "image/png"), ("parameters", b"{", ""))[0], "multipart/form-data; boundary=xyz",
         ErrorKind.INVALID_INPUT, "parameters"),
        (form(("input", b"some words", ""))[0], "multipart/form-data; boundary=xyz", ErrorKind.INVALID_INPUT, "input"),
    ],
)  # fmt: skip
def test_an_upload_that_cannot_be_read_names_what_is_wrong_and_costs_nothing(
    content: bytes, content_type: str, kind: ErrorKind, field: str | None, acme: Customer, kinds: Kinds
) -> None:
    answer = Api(acme).call("POST", "/v2/predict?model=photos", content=content, content_type=content_type)
    if not content and answer.status == 422:
        assert answer.body["field"] == "input"
        return
    assert_problem(answer, kind)
    assert answer.body.get("field") == field
    assert ledger.records(acme.tenant) == []


def test_an_upload_is_for_predictions_alone(acme: Customer, kinds: Kinds) -> None:
    answer = Api(acme).call("POST", "/v2/batch-predict", content=FILE, content_type="image/png")
    assert_problem(answer, ErrorKind.UNSUPPORTED_MEDIA_TYPE)


def test_an_upload_larger_than_the_limit_is_refused(acme: Customer, kinds: Kinds, settings: Any) -> None:
    settings.MAX_BODY_BYTES = len(FILE) - 1
    for path in ("/v2/predict?model=photos", "/v2/models/photos/predict"):
        answer = Api(acme).call("POST", path, content=FILE, content_type="image/png")
        assert_problem(answer, ErrorKind.PAYLOAD_TOO_LARGE)


@pytest.mark.parametrize(
    "value", ["words", [[1, 2]], {"text": "a", "pair": "b"}, {"image": 7}, {"image": "%"}, {"url": "x"}]
)
def test_a_model_of_images_takes_nothing_else(value: Any, acme: Customer, kinds: Kinds) -> None:
    answer = Api(acme).post("/v2/predict", {"model": "photos", "input": value})
    assert_problem(answer, ErrorKind.INVALID_INPUT)
    assert answer.body["field"].startswith("input")
    assert ledger.records(acme.tenant) == []


def test_graphql_takes_images_and_pairs(acme: Customer, kinds: Kinds) -> None:
    query = """query($image: String!, $text: String!, $pair: String!) {
      photo: predict(model: "photos", input: {image: $image}) { predictions { label score } }
      pair: predict(model: "entails", input: {pair: {text: $text, pair: $pair}}) { predictions { label score } }
    }"""
    body = {"query": query, "variables": {"image": ENCODED, "text": QUESTION, "pair": PASSAGE}}
    answer = Api(acme).post("/graphql", body)
    assert "errors" not in answer.body, answer.body
    found = {
        name: {item["label"]: item["score"] for item in data["predictions"]}
        for name, data in answer.body["data"].items()
    }
    assert found == {
        "photo": expected(kinds, "photos", picture(), ["dark", "light"]),
        "pair": expected(kinds, "entails", (QUESTION, PASSAGE), ["yes", "no", "neither"]),
    }


def test_grpc_takes_images_and_pairs(acme: Customer, kinds: Kinds, grpc_target: str) -> None:
    with Grpc(grpc_target, acme) as api:
        photo = api.predict(model_name="photos", image=FILE).message
        assert {one.label: one.score for one in photo.predictions} == expected(
            kinds, "photos", picture(), ["dark", "light"]
        )
        score = api.predict(model_name="rerank", text=QUESTION, text_pair=PASSAGE).message
        assert list(score.embedding) == pytest.approx(kinds.answer("rerank", (QUESTION, PASSAGE)).tolist(), abs=1e-5)
        for fields, field in (
            ({"image": FILE, "text": "x"}, "features"),
            ({"text_pair": "x"}, "text"),
            ({"image": FILE[:20]}, "image"),
        ):
            with pytest.raises(Problem) as caught:
                api.predict(model_name="photos", **fields)
            assert caught.value.field == field


def test_the_open_inference_protocol_takes_images_and_pairs_over_http(acme: Customer, kinds: Kinds) -> None:
    api = Api(acme)
    body = {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": [ENCODED]}]}
    answer = api.post("/oip/v2/models/photos/infer", body)
    labels, values = (output["data"] for output in answer.body["outputs"])
    assert dict(zip(labels, values, strict=True)) == expected(kinds, "photos", picture(), ["dark", "light"])
    head = json.dumps(
        {
            "inputs": [
                {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(FILE) + 4}}
            ]
        }
    ).encode()
    binary = api.call(
        "POST",
        "/oip/v2/models/photos/infer",
        content=head + struct.pack("<I", len(FILE)) + FILE,
        content_type="application/octet-stream",
        headers={"inference-header-content-length": str(len(head))},
    )
    assert binary.body["outputs"] == answer.body["outputs"]
    pairs = {
        "inputs": [{"name": "pair", "datatype": "BYTES", "shape": [2, 2], "data": [QUESTION, PASSAGE, "who", "a"]}]
    }
    score = api.post("/oip/v2/models/rerank/infer", pairs)
    assert score.body["outputs"][0]["shape"] == [2, 1]
    assert score.body["outputs"][0]["data"][0] == pytest.approx(
        float(kinds.answer("rerank", (QUESTION, PASSAGE))[0]), abs=1e-5
    )
    metadata = api.get("/oip/v2/models/rerank")
    assert metadata.body["inputs"] == [{"name": "pair", "datatype": "BYTES", "shape": [-1, 2]}]
    wrong = api.post(
        "/oip/v2/models/rerank/infer",
        {"inputs": [{"name": "pair", "datatype": "BYTES", "shape": [2], "data": ["a", "b"]}]},
    )
    assert wrong.status == 422 or wrong.status == 400
    assert "[n, 2]" in wrong.body["error"]


def test_the_open_inference_protocol_takes_raw_image_bytes_over_grpc(
    acme: Customer, kinds: Kinds, grpc_target: str
) -> None:
    request = oip_pb.ModelInferRequest(model_name="photos")
    request.inputs.add(name="image", datatype="BYTES", shape=[1])
    request.raw_input_contents.append(struct.pack("<I", len(FILE)) + FILE)
    with Grpc(grpc_target, acme) as api:
        stub: Any = oip_pb_grpc.GRPCInferenceServiceStub(api.channel)
        answer = stub.ModelInfer(request, metadata=api.auth, timeout=30)
    values = np.frombuffer(answer.raw_output_contents[1], dtype="<f4")
    assert sorted(values.tolist()) == pytest.approx(sorted(kinds.answer("photos", picture()).tolist()), abs=1e-5)


@pytest.mark.parametrize(("form", "media_type"), [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp")])
def test_an_image_that_is_cut_off_in_its_chunks(acme: Customer, kinds: Kinds, form: str, media_type: str) -> None:
    """What the server has of a connection that broke looks like a whole body; its format shows where pixels are missing."""
    file = file_of(picture(), form)
    path = "/v2/models/photos/predict"
    for missing in (len(file) // 4, len(file) // 2, len(file) - 5, len(file)):
        answer = Api(acme).call("POST", path, content=file[:-missing], content_type=media_type, chunked=True)
        assert_problem(answer, ErrorKind.INVALID_INPUT)
    ledger.assert_untouched(acme)
    assert Api(acme).call("POST", path, content=file, content_type=media_type, chunked=True).status == 200
