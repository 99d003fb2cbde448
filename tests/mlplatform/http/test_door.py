"""The door on a socket: what goes from the connection to the engine and back without a thread, and what is handed on to one."""

from __future__ import annotations

import datetime as dt
import json
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.core import signals
from django.core.handlers.wsgi import WSGIHandler
from django.db import close_old_connections
from prometheus_client import REGISTRY
from pytest_django import DjangoCaptureOnCommitCallbacks

from inference.engine import works
from inference.registry import versions
from mlplatform.http.door import MOST_BYTES, Door
from mlplatform.lib import clock, event_loop, redis_link
from tenants import api_keys
from tenants.deprecations import catalogue
from tenants.models import DeprecationSchedule, SubjectKind
from tests.conftest import Customer
from tests.inference.engine.wave_calls import count_this_month
from tests.support import ledger
from tests.support.front import LIMITS, Reply, Running, head
from tests.support.loops import leave_the_loop
from tests.support.rest import warm_up
from tests.support.tiny_model import TinyWorker, make_version, tiny_worker
from tests.support.waiting import until

__all__ = ["tiny_worker"]

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("prices")]

PATH = "/v2/predict"
LATER = 800
"""Calls on one connection; fewer than the customer may make at once."""
MOST_IN_BUFFERS = 8_000_000
"""Of what is sent, in a socket that nobody reads."""
BODY = {"model": "large", "input": "hello"}
EACH_ITS_OWN = {"x-request-id", "traceparent", "date", "age", "content-length", "vary"}
"""Headers that two answers differ in; a call of a browser has ``vary`` and CORS headers beside."""


class Product(Running):
    """The front before the product's application, and the engine on its loop, as a web process has them."""

    def __init__(self, customer: Customer) -> None:
        self.customer = customer
        self.on_threads: list[str] = []
        """The addresses of what was handed on."""
        self._application = WSGIHandler()
        super().__init__(
            replace(LIMITS, reader_s=20.0, head_s=20.0), application=self._note, door=Door(), on_ready=event_loop.attach
        )

    def _note(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.on_threads.append(environ["PATH_INFO"])
        return self._application(environ, start_response)

    def know(self) -> None:
        """As after a first call of the customer."""
        warm_up({"HTTP_AUTHORIZATION": f"Bearer {self.customer.secret}"})

    def bytes_of(self, body: Any = BODY, path: str = PATH, *, method: str = "POST", **headers: str) -> bytes:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {
            "Authorization": f"Bearer {self.customer.secret}",
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
        }
        merged = sent | {name.replace("_", "-"): value for name, value in headers.items()}
        merged = {name: value for name, value in merged.items() if value}
        return head(method, path, **merged) + content

    def ask(self, *args: Any, **headers: str) -> Reply:
        with self.client() as client:
            return client.send(self.bytes_of(*args, **headers)).answer()


@pytest.fixture
def product(acme: Customer, tiny_worker: TinyWorker) -> Iterator[Product]:
    tiny_worker.serve(make_version("large"))
    count_this_month(acme)
    leave_the_loop()
    signals.request_started.disconnect(close_old_connections)
    signals.request_finished.disconnect(close_old_connections)
    product = Product(acme)
    product.start()
    product.know()
    yield product
    tiny_worker.go.set()
    works.forget()
    redis_link.forget()
    product.stop()
    event_loop.stop()
    leave_the_loop()
    signals.request_started.connect(close_old_connections)
    signals.request_finished.connect(close_old_connections)


def test_ordinary_calls_take_no_thread(product: Product) -> None:
    for path, headers in (
        (PATH, {}),
        ("/v1/predict", {}),
        ("/v1.1/predict", {}),
        (PATH, {"Authorization": "", "X-API-Key": product.customer.secret}),
        (PATH, {"Content-Type": "application/json; charset=utf-8"}),
        (PATH, {"Api-Version": "v2"}),
        (PATH, {"Cache-Control": "no-cache"}),
        (PATH, {"Accept-Encoding": "gzip", "User-Agent": "a client", "X-Request-Id": "mine"}),
    ):
        answer = product.ask(BODY, path, **headers)
        assert answer.status == 200, (path, headers, answer)
        assert answer.headers["x-cache"] in {"HIT", "MISS"}
    assert product.on_threads == []


def test_what_is_out_of_the_ordinary_is_handed_on(product: Product) -> None:
    chunked = head(
        "POST",
        PATH,
        Authorization=f"Bearer {product.customer.secret}",
        Content_Type="application/json",
        Transfer_Encoding="chunked",
    )
    content = json.dumps(BODY).encode()
    cases = {
        "a header twice": (200, product.bytes_of().replace(b"Content-Type", b"X-One: 1\r\nX-One: 2\r\nContent-Type")),
        "a browser": (200, product.bytes_of(Origin="https://app.example")),
        "chunks": (200, chunked + b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)),
        "a large body": (422, product.bytes_of({**BODY, "input": "x" * MOST_BYTES})),
        "a query": (200, product.bytes_of(path=f"{PATH}?x=1")),
        "no JSON": (400, product.bytes_of(b'{"model": ')),
        "a field that is not known": (422, product.bytes_of({**BODY, "unknown": 1})),
        "no object": (400, product.bytes_of([1])),
        "an unknown model": (404, product.bytes_of({**BODY, "model": "none-such"})),
        "an input of another kind": (422, product.bytes_of({**BODY, "input": 7})),
        "no key": (401, product.bytes_of(Authorization="")),
        "another's key": (401, product.bytes_of(Authorization="Bearer mlp_live_nonsense")),
        "another type": (415, product.bytes_of(Content_Type="text/plain")),
        "another version": (None, product.bytes_of(Api_Version="v1")),
        "a packed body": (None, product.bytes_of(Content_Encoding="gzip")),
        "a bad deadline": (400, product.bytes_of(X_Request_Timeout="soon")),
        "an unknown version": (400, product.bytes_of(path="/v3/predict")),
        "an unknown address": (404, product.bytes_of(path="/v2/predicts")),
        "a slash too many": (None, product.bytes_of(path=f"{PATH}/")),
        "GET": (405, product.bytes_of(b"", method="GET")),
        "PUT": (405, product.bytes_of(method="PUT")),
    }
    for number, (what, (status, request)) in enumerate(cases.items(), 1):
        with product.client() as client:
            answer = client.send(request).answer()
            assert answer.status == status or (status is None and answer.status < 500), (what, answer)
            assert len(product.on_threads) == number, f"{what} was not handed on"
            assert client.request("GET", "/livez").status == 200, f"the connection goes on after {what}"
    paid = [record.units for record in ledger.records(product.customer.tenant)]
    assert paid[0] == 10
    assert ledger.holds(product.customer.tenant) == 0


def test_a_head_is_answered_without_a_body(product: Product) -> None:
    with product.client() as client:
        answer = client.request("HEAD", PATH, Authorization=f"Bearer {product.customer.secret}")
        assert answer.status == 405
        assert client.send(product.bytes_of()).answer().status == 200


def test_answers_are_the_same_either_way(product: Product) -> None:
    product.ask()  # Cached from now on.
    for body, path, headers in (
        (BODY, PATH, {}),
        (BODY, "/v1/predict", {}),
        (BODY, "/v1.1/predict", {}),
        (BODY, PATH, {"Cache-Control": "only-if-cached"}),
        ({**BODY, "input": "not known"}, PATH, {"Cache-Control": "only-if-cached"}),
        ({**BODY, "parameters": {"top_k": 1}}, PATH, {}),
        ({**BODY, "input": "x" * 101}, PATH, {}),
        ({**BODY, "model": "none-such"}, PATH, {}),
    ):
        short = product.ask(body, path, **headers)
        long = product.ask(body, path, Origin="https://app.example", **headers)
        assert told(short) == told(long), (body, path, headers)
    assert len(product.on_threads) == 8 + 2


def test_a_key_that_was_revoked_meanwhile_is_told_so_by_every_refusal(
    product: Product, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    unknown = {**BODY, "input": "not known"}
    refused = product.ask(unknown, **{"Cache-Control": "only-if-cached"})
    assert (refused.status, "ratelimit" in refused.headers) == (504, True)
    assert product.on_threads == []
    with django_capture_on_commit_callbacks(execute=True):
        api_keys.revoke(key=product.customer.key)
    assert product.ask(unknown, **{"Cache-Control": "only-if-cached"}).status == 401
    assert product.on_threads == [PATH]
    assert ledger.records(product.customer.tenant) == []


def told(answer: Reply) -> tuple[int, dict[str, str], dict[str, Any]]:
    """What two answers to the same call have in common."""
    headers = {
        name: value
        for name, value in answer.headers.items()
        if name not in EACH_ITS_OWN and not name.startswith(("access-control-", "ratelimit", "x-ratelimit"))
    }
    limits = {name: "" for name in answer.headers if "ratelimit" in name}
    body = {name: value for name, value in answer.json.items() if name not in {"id", "latency_ms", "request_id"}}
    return answer.status, headers | limits, body


def test_a_body_that_came_before_is_answered_by_what_is_live_now(product: Product, tiny_worker: TinyWorker) -> None:
    for cached in (False, True, True):
        answer = product.ask()
        assert (answer.json["model_version"], answer.json["cached"]) == ("1.0.0", cached)
    assert product.ask(BODY, "/v1/predict").json.keys() == {"prediction", "confidence"}
    ready = make_version("large", "2.0.0", state="ready")
    tiny_worker.serve(ready)
    versions.promote(version=ready)
    versions.forget()
    product.know()
    for cached in (False, True, True):
        answer = product.ask()
        assert (answer.json["model_version"], answer.json["cached"]) == ("2.0.0", cached)
    assert product.on_threads == []


def test_a_body_in_two_packets_is_answered(product: Product) -> None:
    request = product.bytes_of()
    for cut in (10, len(request) - 10):
        with product.client() as client:
            client.send(request[:cut])
            if cut > 10:
                until(lambda: product.server._front._bodies.half_sent, lambda half_sent: half_sent == 1)
            else:
                time.sleep(0.05)
            answer = client.send(request[cut:]).answer()
            assert answer.status == 200
    assert product.on_threads == [PATH], "with a whole head and half a body; half a head is only late"


def test_requests_sent_at_once_are_answered_in_their_order(product: Product) -> None:
    texts = [f"text {number}" for number in range(20)]
    requests = [product.bytes_of({**BODY, "input": text}, X_Request_Id=text.replace(" ", "-")) for text in texts]
    requests[7] = product.bytes_of({**BODY, "input": texts[7]}, X_Request_Id="text-7", Origin="https://app.example")
    with product.client() as client:
        client.send(b"".join(requests))
        answers = [client.answer() for _ in texts]
    assert [answer.status for answer in answers] == [200] * 20
    assert [answer.headers["x-request-id"] for answer in answers] == [text.replace(" ", "-") for text in texts]
    assert product.on_threads == [PATH]


def test_an_address_that_is_none_ends_the_connection_after_the_answer_before_it(product: Product) -> None:
    with product.client() as client:
        client.send(product.bytes_of() + b"GET /\xc3\xa9 HTTP/1.1\r\nHost: here\r\n\r\n")
        statuses = {client.answer().status}
        if statuses == {200}:
            statuses.add(client.answer().status)
        assert statuses <= {200, 400}
        assert 400 in statuses
        assert client.ended(within_s=10.0)


def test_trailers_are_no_headers(product: Product) -> None:
    chunked = head(
        "POST",
        PATH,
        **{
            "Authorization": f"Bearer {product.customer.secret}",
            "Content-Type": "application/json",
            "Transfer-Encoding": "chunked",
        },
    )
    content = json.dumps(BODY).encode()
    body = b"%x\r\n%b\r\n0\r\nX-Request-Id: from-the-trailer\r\n\r\n" % (len(content), content)
    with product.client() as client:
        answers = [client.send(product.bytes_of() + chunked + body).answer(), client.answer()]
        assert [answer.status for answer in answers] == [200, 200]
        assert answers[1].headers["x-request-id"] != "from-the-trailer"


def test_connections_stay_or_end_as_the_client_says(product: Product) -> None:
    with product.client() as client:
        for _ in range(5):
            answer = client.send(product.bytes_of()).answer()
            assert (answer.status, "connection" in answer.headers) == (200, False)
        answer = client.send(product.bytes_of(Connection="close")).answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert client.ended(within_s=10.0)
    with product.client() as client:
        answer = client.send(product.bytes_of().replace(b"HTTP/1.1", b"HTTP/1.0", 1)).answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert client.ended(within_s=10.0)
    assert product.on_threads == []


def test_calls_that_wait_take_no_thread_and_health_answers(product: Product, tiny_worker: TinyWorker) -> None:
    tiny_worker.go.clear()
    clients = [product.client() for _ in range(40)]
    before = threading.active_count()
    for number, client in enumerate(clients):
        client.send(product.bytes_of({**BODY, "input": f"text {number}"}))
    until(lambda: ledger.holds(product.customer.tenant), lambda held: held == 40)
    assert threading.active_count() <= before + 4, "those beside the loop"
    with product.client() as other:
        assert other.request("GET", "/livez").status == 200
    assert REGISTRY.get_sample_value("mlplatform_http_waiting_requests") in {0.0, None}
    tiny_worker.go.set()
    assert [client.answer().status for client in clients] == [200] * 40
    for client in clients:
        client.close()
    assert product.on_threads == []
    assert ledger.units(product.customer.tenant) == 400


def test_a_client_that_leaves_keeps_no_other_waiting(product: Product, tiny_worker: TinyWorker) -> None:
    tiny_worker.go.clear()
    with product.client() as leaving:
        leaving.send(product.bytes_of())
        until(lambda: ledger.holds(product.customer.tenant), lambda held: held == 1)
    with product.client() as staying:
        staying.send(product.bytes_of({**BODY, "input": "other"}))
        tiny_worker.go.set()
        assert staying.answer().status == 200
        assert staying.send(product.bytes_of()).answer().headers["x-cache"] == "HIT", (
            "what it left is computed and kept"
        )
    assert ledger.holds(product.customer.tenant) == 0


def test_a_reader_that_takes_nothing_for_a_while_gets_each_answer_whole(
    product: Product, tiny_worker: TinyWorker
) -> None:
    tiny_worker.serve(make_version("wide", labels=[f"label {number}" for number in range(400)]))
    product.know()
    body = {"model": "wide", "input": "hello"}
    size = len(product.ask(body).body)
    assert size * LATER > MOST_IN_BUFFERS
    request = product.bytes_of(body)
    with product.client(buffer=4096) as slow:
        sender = threading.Thread(target=slow.send, args=(request * LATER,))
        sender.start()
        time.sleep(0.5)
        with product.client() as other:
            assert other.send(request).answer().status == 200
        answers = [slow.answer() for _ in range(LATER)]
        sender.join(30)
    assert {answer.status for answer in answers} == {200}
    assert all(len(answer.json["predictions"]) == 400 for answer in answers)
    assert product.on_threads == []


def test_a_version_that_ends_is_announced_by_a_thread(product: Product) -> None:
    assert "deprecation" not in product.ask(BODY, "/v1/predict").headers
    now = clock.now()
    DeprecationSchedule.objects.create(
        kind=SubjectKind.API_VERSION,
        subject="v1",
        successor="v2",
        announce_at=now - dt.timedelta(days=300),
        deprecate_at=now - dt.timedelta(days=200),
        sunset_at=now + dt.timedelta(days=200),
        reason="Its successor says more.",
        guide="Use the successor.",
    )
    catalogue.forget()
    product.know()
    answer = product.ask(BODY, "/v1/predict")
    assert (answer.status, answer.headers["x-api-deprecated"]) == (200, "true")
    assert product.ask().status == 200
    assert product.on_threads == ["/v1/predict"]


def test_what_the_engine_refuses_is_said_without_a_thread(product: Product, tiny_worker: TinyWorker) -> None:
    tiny_worker.go.clear()
    answer = product.ask(X_Request_Timeout="0.2", X_Request_Id="late")
    assert (answer.status, answer.headers["content-type"]) == (503, "application/problem+json")
    assert answer.json["request_id"] == answer.headers["x-request-id"] == "late"
    assert answer.headers["retry-after"]
    assert product.on_threads == []
    ledger.assert_untouched(product.customer)
