"""The table from kinds to OpenAI's errors is complete, and answers that the client never shows keep its shape."""

import datetime as dt

import pytest

from inference.openai import problems
from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.deprecations import schedules
from tenants.models import DeprecationSchedule
from tests.conftest import Customer
from tests.support import ledger
from tests.support.live_worker import LiveWorker
from tests.support.rest import Answer, Api, assert_limit_headers

pytestmark = pytest.mark.usefixtures("prices")

EMBEDDINGS = "/openai/v1/embeddings"


def assert_refused(answer: Answer, status: int, code: str) -> None:
    assert answer.status == status, answer.content
    assert set(answer.body) == {"error"}
    assert set(answer.body["error"]) == {"message", "type", "param", "code"}
    assert answer.body["error"]["code"] == code
    assert answer.headers["X-Request-Id"]


def test_every_kind_has_its_row() -> None:
    assert set(problems.TABLE) == set(ErrorKind)
    for kind, wire in problems.TABLE.items():
        reply = problems.reply(PlatformError(kind, "Why.", field="input"), request_id="x")
        assert reply.status == wire.status
        assert reply.body == {"error": {"message": "Why.", "type": wire.type, "param": "input", "code": wire.code}}
        assert ("Retry-After" in reply.headers) == (reply.status in {429, 503})
    codes = [wire.code for wire in problems.TABLE.values()]
    assert len(set(codes)) == len(codes)


def test_bodies_addresses_and_methods(acme: Customer, live_worker: LiveWorker) -> None:
    api = Api(acme)
    assert_refused(api.post(EMBEDDINGS, b"{"), 400, "malformed_request")
    assert_refused(api.post(EMBEDDINGS, []), 400, "malformed_request")
    assert_refused(api.post(EMBEDDINGS, {"model": "minilm"}), 400, "invalid_input")
    assert_refused(api.call("POST", EMBEDDINGS, content=b"x", content_type="text/plain"), 415, "unsupported_media_type")
    assert_refused(api.get(EMBEDDINGS), 405, "method_not_allowed")
    assert_refused(api.post("/openai/v1/chat/completions", {}), 404, "not_found")
    assert_refused(Api().post(EMBEDDINGS, {"model": "minilm", "input": "x"}), 401, "invalid_api_key")
    assert_limit_headers(api.get("/openai/v1/models"))
    ledger.assert_untouched(acme)


def test_a_pinned_version_that_ends_says_so(acme: Customer, live_worker: LiveWorker) -> None:
    now = clock.now()
    schedules.save(
        DeprecationSchedule(
            kind="model_version",
            subject="minilm@1.0.0",
            successor="sentiment@1.0.0",
            announce_at=now,
            deprecate_at=now,
            sunset_at=now + dt.timedelta(days=200),
            reason="Its successor says more.",
            guide="Use the successor.",
        )
    )
    for text, status in (("A cat.", 200), ("", 400)):
        answer = Api(acme).post(EMBEDDINGS, {"model": "minilm@1.0.0", "input": text})
        assert answer.status == status
        assert answer.headers["X-API-Deprecated"] == "true"
        assert answer.headers["Deprecation"]
    assert "Sunset" not in Api(acme).post(EMBEDDINGS, {"model": "minilm", "input": "A cat."}).headers
