"""Calls of the REST API as a web process answers them, and a parser for the limit headers of their answers."""

import gzip
import io
import json
import math
import queue
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar
from unittest import mock
from urllib.parse import quote

import msgspec
import pytest
from django.core import signals
from django.core.handlers.wsgi import WSGIHandler
from django.db import close_old_connections
from django.db.utils import ConnectionHandler
from django.test import RequestFactory
from django.utils.datastructures import CaseInsensitiveMapping

from billing import contracts, pricing
from inference.registry import live
from mlplatform import api_answers
from mlplatform.http.answers import Answer as FrontAnswer
from mlplatform.http.asked import Asked
from mlplatform.http.door import Door
from mlplatform.lib import event_loop, sql_connections
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants import authentication, calling
from tenants.deprecations import catalogue
from tenants.http import problems
from tests.conftest import Customer

Sent = tuple[int, Mapping[str, str], bytes]


@dataclass(frozen=True)
class Answer:
    """One answer; ``body`` is the parsed JSON, ``content`` what was sent."""

    status: int
    headers: Mapping[str, str]
    body: Any
    content: bytes


class Api:
    """Calls as one customer, or without a key when ``customer`` is None: as a web process answers them."""

    everywhere: ClassVar[dict[str, str]] = {}
    """Headers of all calls; the fixture ``both_ways`` sets them."""

    def __init__(self, customer: Customer | None = None, *, secret: str = "") -> None:
        self._auth = {"authorization": f"Bearer {secret}"} if secret else customer.auth if customer else {}
        # Made anew each time: middleware reads its settings when it is made, and tests change them.
        api_answers.security_headers.cache_clear()
        self._application = WSGIHandler()
        self._door = Door()

    def get(self, path: str, *, headers: dict[str, str] | None = None, **meta: Any) -> Answer:
        """``meta`` are keys of the WSGI environment, such as REMOTE_ADDR."""
        return self.call("GET", path, headers=headers, **meta)

    def post(self, path: str, body: Any, *, headers: dict[str, str] | None = None, **meta: Any) -> Answer:
        """``body`` goes as it is when it is bytes, else as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.call("POST", path, content=content, headers=headers, **meta)

    def call(
        self,
        method: str,
        path: str,
        *,
        content: bytes = b"",
        headers: dict[str, str] | None = None,
        content_type: str = "application/json",
        chunked: bool = False,
        **meta: Any,
    ) -> Answer:
        """``chunked`` sends the body as the front shows one that came in chunks: without a length."""
        sent = self.everywhere | self._auth | (headers or {})
        request = RequestFactory().generic(method, path, content, content_type=content_type, headers=sent, **meta)
        if chunked:
            request.environ.pop("CONTENT_LENGTH", None)
            request.environ |= {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input": io.BytesIO(content)}
        status, answered, raw = self._through_door(request.environ, content) or self._on_thread(request.environ)
        unpacked = gzip.decompress(raw) if answered.get("Content-Encoding") == "gzip" else raw
        is_json = "json" in answered.get("Content-Type", "") and method != "HEAD"
        return Answer(
            status=status,
            headers=answered,
            body=json.loads(unpacked) if is_json and unpacked else None,
            # A server sends no body in answer to HEAD.
            content=b"" if method == "HEAD" else raw,
        )

    def _through_door(self, environ: dict[str, Any], content: bytes) -> Sent | None:
        """As the event loop answers it; None where it hands the request on."""
        warm_up(environ)
        asked = asked_of(environ, content)
        answers: queue.SimpleQueue[FrontAnswer | None] = queue.SimpleQueue()

        def take() -> bool:
            return self._door.take(asked, reply=answers.put, hand_on=lambda: answers.put(None))

        if not self._door.is_for(asked) or not event_loop.call(take):
            return None
        answer = answers.get(timeout=60)
        if answer is None:
            return None
        lines = [line.partition(": ") for line in answer.head.decode("latin-1").split("\r\n") if line]
        return answer.status, CaseInsensitiveMapping({name: value for name, _, value in lines}), answer.body

    def _on_thread(self, environ: dict[str, Any]) -> Sent:
        started: list[tuple[int, dict[str, str]]] = []

        def start_response(status: str, fields: list[tuple[str, str]], _: Any = None, /) -> Callable[[bytes], object]:
            started.append((int(status[:3]), dict(fields)))
            return io.BytesIO().write

        with one_transaction():
            chunks = self._application(environ, start_response)
            raw = b"".join(chunks)
            getattr(chunks, "close", lambda: None)()
        ((status, answered),) = started
        return status, CaseInsensitiveMapping(answered), raw


def warm_up(environ: Mapping[str, Any]) -> None:
    """What a process knows of a caller after its first call, so that the event loop takes this one."""
    with suppress(PlatformError, IndexError):
        authorization, api_key = (environ.get(f"HTTP_{name}", "") for name in ("AUTHORIZATION", "X_API_KEY"))
        secret = calling.secret_of(authorization=authorization, api_key=api_key)
        contracts.contract_of(authentication.authenticate(secret, address=environ.get("REMOTE_ADDR", "")))
        live.current()
        catalogue.current()
        pricing.tariff(operation="predict", model="")


def asked_of(environ: Mapping[str, Any], content: bytes) -> Asked:
    """The whole request of which the front would make this environment."""
    headers = [
        (name.removeprefix("HTTP_").lower().replace("_", "-").encode(), value.encode("latin-1"))
        for name, value in environ.items()
        if name.startswith("HTTP_") or (name in {"CONTENT_TYPE", "CONTENT_LENGTH"} and value)
    ]
    query = environ.get("QUERY_STRING", "")
    url = f"{quote(environ['PATH_INFO'])}{'?' if query else ''}{query}".encode("latin-1")
    asked = Asked(environ["REQUEST_METHOD"].encode(), url, headers, version="1.1", keep_alive=True)
    asked.body += content
    asked.is_whole = True
    return asked


@contextmanager
def one_transaction() -> Iterator[None]:
    """The end of a request must not end the transaction of the test; Django's own test client takes the same care."""
    for signal in (signals.request_started, signals.request_finished):
        signal.disconnect(close_old_connections)
    try:
        with mock.patch.object(sql_connections, "connections", ConnectionHandler({})):
            yield
    finally:
        for signal in (signals.request_started, signals.request_finished):
            signal.connect(close_old_connections)


@pytest.fixture(params=["door", "django"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each test twice: through the door that ordinary predictions take, and through Django, as calls from browsers go."""
    way: str = request.param
    monkeypatch.setattr(Api, "everywhere", {"origin": "https://app.example"} if way == "django" else {})
    return way


def predict(api: Api, *, model: str = "sentiment", text: str = "What a wonderful morning!", **body: Any) -> Answer:
    """The usual call."""
    return api.post("/v2/predict", {"model": model, "input": text, **body})


def assert_problem(answer: Answer, kind: ErrorKind, *words: str, field: str | None = None) -> None:
    """The answer is a complete problem of this kind, and its detail has the words."""
    assert answer.status == problems.TABLE[kind].status, answer.content[:500]
    assert answer.headers["Content-Type"] == "application/problem+json"
    msgspec.convert(answer.body, problems.Problem)
    assert set(answer.body) <= set(problems.Problem.__struct_encode_fields__)
    assert answer.body["type"] == problems.type_of(kind)
    assert answer.body["title"] == problems.TABLE[kind].title
    assert answer.body["status"] == answer.status
    assert answer.body["request_id"] == answer.headers["X-Request-Id"]
    for word in words:
        assert word in answer.body["detail"]
    if field is not None:
        assert answer.body["field"] == field
    if answer.status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
        assert int(answer.headers["Retry-After"]) >= 1


# --- Limit headers (draft-ietf-httpapi-ratelimit-headers) as structured fields (RFC 9651): lists of strings ----------

_MEMBER = re.compile(
    r'"(?P<name>[ !#-\[\]-~]*)"(?P<parameters>(?:;[a-z*][a-z0-9_.*-]*=(?:-?\d{1,15}|"[ !#-\[\]-~]*"))*)'
)
_PARAMETER = re.compile(r';([a-z*][a-z0-9_.*-]*)=(-?\d{1,15}|"[ !#-\[\]-~]*")')


def structured_list(header: str) -> dict[str, dict[str, int | str]]:
    """Members by name with their parameters, in order. Raises ValueError for anything the syntax does not allow."""
    members: dict[str, dict[str, int | str]] = {}
    position = 0
    while True:
        match = _MEMBER.match(header, position)
        if match is None or match["name"] in members:
            raise ValueError(f"no structured list at {position}: {header}")
        members[match["name"]] = {
            name: value[1:-1] if value.startswith('"') else int(value)
            for name, value in _PARAMETER.findall(match["parameters"])
        }
        position = match.end()
        if position == len(header):
            return members
        separator = re.compile(r"[ \t]*,[ \t]*").match(header, position)
        if separator is None:
            raise ValueError(f"no comma at {position}: {header}")
        position = separator.end()


def assert_limit_headers(answer: Answer) -> dict[str, dict[str, int | str]]:
    """Both headers parse, agree with each other and with the simple ones; gives the members of ``RateLimit``."""
    policies = structured_list(answer.headers["RateLimit-Policy"])
    limits = structured_list(answer.headers["RateLimit"])
    assert list(policies) == list(limits)
    for name, policy in policies.items():
        assert set(policy) <= {"q", "w", "x-unit"}, policy
        assert int(policy["q"]) >= 0
        assert int(policy.get("w", 1)) >= 1
        assert set(limits[name]) == {"r", "t"}
        assert 0 <= int(limits[name]["r"]) <= int(policy["q"])
        assert int(limits[name]["t"]) >= 0
    simple = {name: int(answer.headers[f"X-RateLimit-{name}"]) for name in ("Limit", "Remaining", "Reset")}
    assert (simple["Limit"], simple["Remaining"], simple["Reset"]) in {
        (policies[name]["q"], limits[name]["r"], limits[name]["t"]) for name in policies
    }
    if "Retry-After" in answer.headers and answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        refusing = [int(limits[name]["t"]) for name in answer.body.get("violated-policies", ())]
        assert int(answer.headers["Retry-After"]) >= max(refusing, default=0)
    assert math.isfinite(simple["Reset"])
    return limits
