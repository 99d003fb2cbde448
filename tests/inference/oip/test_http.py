"""The HTTP face by hand: what tritonclient would never send, what it cannot show, and what the model itself fails."""

import datetime as dt
import json
from collections.abc import Callable
from typing import Any

import pytest

from inference.deprecations.samples import store as samples
from inference.models import CallSample, VersionState
from inference.oip import problems
from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants import api_keys
from tenants.deprecations import catalogue
from tenants.models import DeprecationSchedule
from tests.conftest import Customer
from tests.inference.oip.by_hand import INFER, assert_refused, call
from tests.support import ledger
from tests.support.rest import Api, assert_limit_headers
from tests.support.tiny_model import POISON, TinyWorker, make_version

pytestmark = pytest.mark.usefixtures("prices")


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
