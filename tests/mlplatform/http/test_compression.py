"""Answers are packed where the client asks for it and it helps, on both ways and every face; all others stay as they were."""

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.http import HttpResponse, StreamingHttpResponse
from django.test import Client, RequestFactory

from mlplatform.http import compression
from mlplatform.http.compression import CompressionMiddleware, Wish
from tests.conftest import Customer
from tests.support import staff
from tests.support.live_worker import LiveWorker, demo_models, live_worker
from tests.support.rest import Answer, Api, both_ways

__all__ = ["both_ways", "demo_models", "live_worker"]

GZIP = {"accept-encoding": "gzip"}
NEVER, HELPS, ALWAYS = Wish.NEVER, Wish.WHERE_IT_HELPS, Wish.ALWAYS


@pytest.mark.parametrize(
    ("header", "wish"),
    [
        ("", NEVER),
        ("gzip", HELPS),
        ("GZip", HELPS),
        ("x-gzip", HELPS),
        ("gzip, deflate, br, zstd", HELPS),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", HELPS),
        ("gzip;q=0.001", HELPS),
        ("gzip ; q=1", HELPS),
        ("*", HELPS),
        ("*;q=0.5", HELPS),
        ("gzip, identity", HELPS),
        ("gzip, identity;q=0", ALWAYS),
        ("gzip, *;q=0", ALWAYS),
        ("*, identity;q=0", ALWAYS),
        ("gzip;q=0", NEVER),
        ("gzip;q=0.000", NEVER),
        ("gzip;q=0, *", NEVER),
        ("*;q=0", NEVER),
        ("identity", NEVER),
        ("identity;q=0", NEVER),
        ("identity, gzip;q=0.5", NEVER),
        ("br, deflate, zstd", NEVER),
        ("gzip;q=2", NEVER),
        ("gzip;q=nan", NEVER),
        ("gzip;q=-1", NEVER),
        ("gzip;q=", NEVER),
        ("gzipped, notgzip", NEVER),
        (",;,;q=,", NEVER),
    ],
)
def test_what_accept_encoding_wants(header: str, wish: Wish) -> None:
    assert compression.wish_of(header) is wish


def assert_packed(answer: Answer) -> Any:
    """It is whole gzip that says so; gives what it unpacks to."""
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.headers["Content-Length"] == str(len(answer.content))
    assert "Accept-Encoding" in answer.headers["Vary"]
    return gzip.decompress(answer.content)


@pytest.mark.usefixtures("both_ways", "prices")
def test_a_large_prediction_is_packed_where_the_client_asks(acme: Customer, live_worker: LiveWorker) -> None:
    api, body = Api(acme), {"model": "minilm", "input": "A lamp"}
    api.post("/v2/predict", body)
    plain = api.post("/v2/predict", body)
    packed = api.post("/v2/predict", body, headers=GZIP)
    said = json.loads(assert_packed(packed))
    assert said["embedding"] == plain.body["embedding"]
    assert len(packed.content) < 0.6 * len(plain.content)
    assert "Accept-Encoding" in plain.headers["Vary"], "a cache must not give the one answer for the other"
    assert "Content-Encoding" not in plain.headers
    assert plain.headers["Content-Length"] == str(len(plain.content))
    for header in ("br", "gzip;q=0", "identity, gzip;q=0.5"):
        refused = api.post("/v2/predict", body, headers={"accept-encoding": header})
        assert "Content-Encoding" not in refused.headers
        assert refused.body["embedding"] == plain.body["embedding"]


@pytest.mark.usefixtures("both_ways", "prices")
def test_a_small_answer_stays_as_it_is(acme: Customer, live_worker: LiveWorker) -> None:
    answer = Api(acme).post("/v2/predict", {"model": "sentiment", "input": "Good."}, headers=GZIP)
    assert answer.status == 200
    assert "Content-Encoding" not in answer.headers
    assert "Accept-Encoding" not in answer.headers.get("Vary", "")
    plain_is_refused = {"accept-encoding": "gzip, identity;q=0"}
    answer = Api(acme).post("/v2/predict", {"model": "sentiment", "input": "Good."}, headers=plain_is_refused)
    assert json.loads(assert_packed(answer))["model"] == "sentiment"


@pytest.mark.usefixtures("prices")
def test_every_face_packs(acme: Customer, live_worker: LiveWorker) -> None:
    api = Api(acme)
    texts = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["A lamp"]}
    query = '{ predict(model: "minilm", inputData: "A lamp") { embedding } }'
    answers = {
        "REST": api.get("/v2/models", headers=GZIP),
        "OpenAI": api.post("/openai/v1/embeddings", {"model": "minilm", "input": "A lamp"}, headers=GZIP),
        "OIP": api.post("/oip/v2/models/minilm/infer", {"inputs": [texts]}, headers=GZIP),
        "GraphQL": api.post("/graphql", {"query": query}, headers=GZIP),
        "documents": api.get("/v2/openapi.json", headers=GZIP),
    }
    for name, answer in answers.items():
        assert answer.status == 200, (name, answer.content)
        assert isinstance(json.loads(assert_packed(answer)), dict), name
    assert set(answers["GraphQL"].headers["Vary"].split(", ")) == {"Accept", "Accept-Encoding"}


@pytest.mark.usefixtures("prices")
def test_the_protocol_packs_answers_of_infer_alone(acme: Customer, live_worker: LiveWorker) -> None:
    """Triton's asynchronous client asks for gzip by default and unpacks no others."""
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["A lamp"]}
    binary = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    api = Api(acme)
    for answer in (
        api.get("/oip/v2/models/sentiment", headers=GZIP),
        api.post("/oip/v2/models/minilm/infer", {"inputs": [{**tensor, "name": "x" * 5_000}]}, headers=GZIP),
        api.post("/oip/v2/models/minilm/infer", binary, headers=GZIP),
    ):
        assert "Content-Encoding" not in answer.headers


def _through_middleware(answer: Any, **headers: str) -> Any:
    return CompressionMiddleware(lambda _: answer)(RequestFactory().get("/v2/models", headers=GZIP | headers))


TEXT = b"2026-11-28,sentiment,17\n" * 100


@pytest.mark.parametrize(
    "content_type", ["text/csv", "text/html; charset=utf-8", "application/problem+json", "text/plain; version=0.0.4"]
)
def test_text_is_packed(content_type: str) -> None:
    answer = _through_middleware(HttpResponse(TEXT, content_type=content_type, headers={"ETag": '"abc"'}))
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.headers["Content-Length"] == str(len(answer.content))
    assert gzip.decompress(answer.content) == TEXT
    assert answer.headers["ETag"] == 'W/"abc"', "the same content in other bytes"


@pytest.mark.parametrize(
    "make",
    [
        lambda: HttpResponse(TEXT, content_type="image/png"),
        lambda: HttpResponse(TEXT, content_type="application/octet-stream"),
        lambda: HttpResponse(TEXT, content_type="application/zip"),
        lambda: HttpResponse(TEXT, headers={"Content-Encoding": "br"}),
        lambda: HttpResponse(TEXT, headers={"Cache-Control": "public, no-transform"}),
        lambda: StreamingHttpResponse(iter([TEXT])),
        lambda: HttpResponse(TEXT[:1024]),
        lambda: HttpResponse(status=304),
    ],
)
def test_other_answers_are_left_alone(make: Callable[[], HttpResponse]) -> None:
    before, answer = dict(make().headers), _through_middleware(make())
    assert dict(answer.headers) == before


def test_an_answer_that_would_grow_is_left_alone() -> None:
    noise = bytes(range(256)) * 5
    answer = _through_middleware(HttpResponse(gzip.compress(noise, 9) * 8, content_type="text/plain"))
    assert "Content-Encoding" not in answer.headers or len(answer.content) < 8 * len(gzip.compress(noise, 9))


def test_pages_that_come_with_a_cookie_have_a_random_length(db: None) -> None:
    """An attacker who can have a browser ask for a page must not learn from its length what stands in it (BREACH)."""
    lengths = {len(_through_middleware(HttpResponse(TEXT), cookie="sessionid=x").content) for _ in range(30)}
    assert len(lengths) > 5
    assert len({len(_through_middleware(HttpResponse(TEXT)).content) for _ in range(5)}) == 1


def test_pages_of_the_admin_are_packed(db: None) -> None:
    page = staff.signed_in(staff.superuser()).get("/admin/", headers=GZIP)
    assert page.headers["Content-Encoding"] == "gzip"
    assert b"mlplatform" in gzip.decompress(page.content)


def test_metrics_are_packed(db: None) -> None:
    answer = Client().get("/metrics", headers=GZIP)
    assert answer.headers["Content-Encoding"] == "gzip"
    assert b"mlplatform_" in gzip.decompress(answer.content)
