"""The HTTP face by hand: what tritonclient would never send, what it cannot show, and what the model itself fails."""

import datetime as dt
import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pytest_django import Settings

from inference.deprecations.samples import store as samples
from inference.models import CallSample, VersionState
from inference.oip import problems
from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants import api_keys
from tenants.deprecations import catalogue
from tenants.models import DeprecationSchedule
from tests.conftest import Customer
from tests.support import ledger
from tests.support.rest import Answer, Api, assert_limit_headers
from tests.support.tiny_model import POISON, TinyWorker, make_version, share_of, tiny_worker

__all__ = ["tiny_worker"]

pytestmark = pytest.mark.usefixtures("prices")

INFER = "/oip/v2/models/tiny/infer"


@pytest.fixture
def tiny(tiny_worker: TinyWorker) -> TinyWorker:
    tiny_worker.serve(make_version())
    return tiny_worker


def call(*texts: Any, **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": list(texts)}], **more}


def assert_refused(answer: Answer, status: int, *words: str) -> None:
    assert answer.status == status, answer.content
    assert list(answer.body) == ["error"]
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Request-Id"]
    for word in words:
        assert word in answer.body["error"], answer.body["error"]


def test_every_kind_has_its_status() -> None:
    assert set(problems.TABLE) == set(ErrorKind)
    for kind in ErrorKind:
        reply = problems.reply(PlatformError(kind, "Why.", field="inputs[0]"), request_id="x")
        assert reply.status == problems.TABLE[kind]
        assert reply.body == {"error": "inputs[0]: Why."}
        assert ("Retry-After" in reply.headers) == (reply.status in {429, 503})


def test_the_answer_in_json(acme: Customer, tiny: TinyWorker) -> None:
    answer = Api(acme).post(INFER, call("hello", id="my call"), headers={"x-request-id": "order-17"})
    assert answer.status == 200
    assert answer.body == {
        "model_name": "tiny",
        "model_version": "1.0.0",
        "id": "my call",
        "parameters": {"units": 1, "cached": False},
        "outputs": [
            {"name": "labels", "datatype": "BYTES", "shape": [1, 2], "data": ["no", "yes"]},
            {"name": "scores", "datatype": "FP32", "shape": [1, 2], "data": [0.960938, 0.039062]},
        ],
    }
    assert answer.headers["X-Request-Id"] == "order-17"
    assert answer.headers["X-Cache"] == "MISS"
    assert_limit_headers(answer)
    again = Api(acme).post(INFER, call("hello"))
    assert again.headers["X-Cache"] == "HIT"
    assert "id" not in again.body
    assert again.body["parameters"] == {"units": 0, "cached": True}
    assert Api(acme).post(INFER, call("hello"), headers={"cache-control": "no-cache"}).headers["X-Cache"] == "MISS"


def test_curl_sends_json_under_another_name(acme: Customer, tiny: TinyWorker) -> None:
    body = json.dumps(call("hello")).encode()
    answer = Api(acme).call("POST", INFER, content=body, content_type="application/x-www-form-urlencoded")
    assert answer.status == 200


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


@pytest.mark.parametrize(
    ("address", "said", "version"),
    [
        ("tiny", {"model_name": "tiny"}, "1.0.0"),
        ("tiny", {"model_name": "tiny", "model_version": "2.0.0"}, "2.0.0"),
        ("tiny", {"model_name": None, "model_version": None}, "1.0.0"),
        ("tiny", {"model_version": ""}, "1.0.0"),
        ("tiny/versions/2.0.0", {"model_name": "tiny", "model_version": "2.0.0"}, "2.0.0"),
        ("tiny/versions/2.0.0", {"model_name": "tiny"}, "2.0.0"),
    ],
)
def test_the_body_may_name_the_model_too(
    acme: Customer, tiny: TinyWorker, address: str, said: dict[str, Any], version: str
) -> None:
    tiny.serve(make_version(version="2.0.0", state=VersionState.READY))
    answer = Api(acme).post(f"/oip/v2/models/{address}/infer", call("hello", **said))
    assert answer.status == 200, answer.content
    assert answer.body["model_version"] == version


@pytest.mark.parametrize(
    ("address", "said", "words"),
    [
        ("tiny", {"model_name": "sentiment"}, "model_name: The address names 'tiny' and the body 'sentiment'"),
        ("tiny/versions/1.0.0", {"model_version": "2.0.0"}, "model_version: The address names '1.0.0'"),
        ("tiny", {"model_name": 5}, "model_name: "),
        ("tiny", {"model_version": 1}, "model_version: "),
        ("tiny", {"parameters": {"sequence_id": 7, "sequence_start": True}}, "parameters.sequence_id: "),
        ("tiny", {"parameters": {"priority": -1}}, "parameters.priority: "),
        ("tiny", {"parameters": {"triton_enable_empty_final_response": 1}}, "triton_enable_empty_final_response: "),
    ],
)
def test_what_clients_say_and_cannot_be_is_refused(
    acme: Customer, tiny: TinyWorker, address: str, said: dict[str, Any], words: str
) -> None:
    assert_refused(Api(acme).post(f"/oip/v2/models/{address}/infer", call("hello", **said)), 400, words)
    ledger.assert_untouched(acme)
    assert tiny.batches == []


def test_what_tritons_clients_say_beside(acme: Customer, tiny: TinyWorker) -> None:
    parameters = {"priority": 3, "triton_enable_empty_final_response": True, "timeout": 10_000_000}
    answer = Api(acme).post(f"{INFER}?trace=1", call("hello", parameters=parameters))
    assert answer.status == 200, answer.content


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


def test_a_failure_of_the_model_fails_the_call_and_names_the_row(acme: Customer, tiny: TinyWorker) -> None:
    api = Api(acme)
    answer = api.post(INFER, call("good", POISON))
    assert_refused(answer, 422, "inputs[0].data[1]: The model failed", "charged 1 units")
    assert "Retry-After" not in answer.headers, "it would fail again"
    assert ledger.holds(acme.tenant) == 0
    assert ledger.units(acme.tenant) == 1
    assert api.post(INFER, call("good")).body["parameters"] == {"units": 0, "cached": True}


def test_a_single_failure_of_the_model_is_not_charged(acme: Customer, tiny: TinyWorker) -> None:
    assert Api(acme).post(INFER, call(POISON)).status >= 400
    ledger.assert_untouched(acme)


def test_the_callers_timeout_is_heeded(acme: Customer, tiny: TinyWorker) -> None:
    tiny.go.clear()
    answer = Api(acme).post(INFER, call("hello", parameters={"timeout": 50_000}))
    assert_refused(answer, 503, "in time")
    assert int(answer.headers["Retry-After"]) >= 1
    ledger.assert_untouched(acme)


def test_addresses_and_methods(acme: Customer, tiny: TinyWorker) -> None:
    api = Api(acme)
    assert_refused(api.get("/oip/v2/models/tiny/config"), 404, "/oip/v2/models/tiny/config")
    assert_refused(api.post("/oip/v2/repository/index", b""), 404, "repository")
    wrong = api.get(INFER)
    assert_refused(wrong, 405)
    assert wrong.headers["Allow"] == "POST, OPTIONS"
    assert_refused(api.post("/oip/v2", b"{}"), 405)


def test_what_needs_a_key_and_what_does_not(tiny: TinyWorker) -> None:
    api = Api()
    assert api.get("/oip/v2/health/live").body == {"live": True}
    assert api.get("/oip/v2/health/ready").status == 503
    assert api.get("/oip/v2").body["name"] == "mlplatform"
    for path in ("/oip/v2/models/tiny", "/oip/v2/models/tiny/ready", "/oip/v2/models/no-such"):
        refused = api.get(path)
        assert_refused(refused, 401, "API key")
        assert refused.headers["WWW-Authenticate"].startswith("Bearer")
    assert_refused(api.post(INFER, call("hello")), 401)


def ends(*, sunset_in: dt.timedelta) -> None:
    """The schedule of tiny@1.0.0."""
    now = clock.now()
    DeprecationSchedule.objects.create(
        kind="model_version",
        subject="tiny@1.0.0",
        successor="tiny@2.0.0",
        announce_at=now - dt.timedelta(days=300),
        deprecate_at=now - dt.timedelta(days=200),
        sunset_at=now + sunset_in,
        reason="Its successor says more.",
        guide="Use the successor.",
    )
    catalogue.changed()


def test_a_pinned_version_that_ends_says_so(acme: Customer, tiny: TinyWorker) -> None:
    tiny.serve(make_version(version="2.0.0", state="ready"))
    ends(sunset_in=dt.timedelta(days=200))
    api = Api(acme)
    for body, status in ((call("hello"), 200), (call(" "), 400)):
        answer = api.post("/oip/v2/models/tiny/versions/1.0.0/infer", body)
        assert answer.status == status
        assert answer.headers["X-API-Deprecated"] == "true"
        assert "tiny@2.0.0" in answer.headers["Link"]
    assert "Sunset" not in api.post(INFER, call("hello")).headers
    samples.flush()
    kept = CallSample.objects.get()
    assert (kept.subject, kept.model, kept.api_version) == ("tiny@1.0.0", "tiny@1.0.0", "v2")


def test_a_version_that_has_ended_is_gone(acme: Customer, tiny: TinyWorker) -> None:
    tiny.serve(make_version(version="2.0.0", state="ready"))
    ends(sunset_in=dt.timedelta(days=-1))
    answer = Api(acme).post("/oip/v2/models/tiny/versions/1.0.0/infer", call("hello"))
    assert_refused(answer, 410, "tiny@2.0.0")
    assert "tiny@2.0.0" in answer.headers["Link"]
    ledger.assert_untouched(acme)


def test_a_revoked_key_learns_nothing(
    acme: Customer, tiny: TinyWorker, django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    api = Api(acme)
    assert api.get("/oip/v2/models/tiny").status == 200
    with django_capture_on_commit_callbacks(execute=True):
        api_keys.revoke(key=acme.key)
    assert_refused(api.get("/oip/v2/models/tiny"), 401)
    assert_refused(api.get("/oip/v2/models/tiny/ready"), 401)
    assert_refused(api.post(INFER, call("hello")), 401)
    assert_refused(api.post(INFER, call(" ")), 401)
