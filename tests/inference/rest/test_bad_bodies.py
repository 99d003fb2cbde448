"""Bodies that must not work: each is a 4xx that names the reason, none is a 5xx, none costs anything."""

import gzip
import json

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from mlplatform.lib.errors import ErrorKind
from tests.conftest import Customer
from tests.support import ledger
from tests.support.examples import examples
from tests.support.live_worker import LiveWorker
from tests.support.rest import Api, assert_limit_headers, assert_problem

pytestmark = pytest.mark.usefixtures("prices")
PATHS = ["/v1/predict", "/v1.1/predict", "/v2/predict", "/v2/batch-predict", "/v2/models/sentiment/predict", "/predict"]


def nested(depth: int) -> bytes:
    return b'{"model": "sentiment", "input": ' + b"[" * depth + b"]" * depth + b"}"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "line 1"),
        (b'{"model": "sentiment", "input": "x",}', "not JSON"),
        (b"input=x", "not JSON"),
        (b"\xff\xfe{\x00}\x00", "UTF-8"),
        (b'{"model": "sentiment", "input": "\xc3"}', "UTF-8"),
        (b'{"model": "sentiment", "input": "x", "input": "y"}', "'input' stands twice"),
        (b'{"input": {"a": {"b": 1, "b": 2}}}', "'b' stands twice"),
        (b'{"model": "digits", "input": [[NaN]]}', "NaN"),
        (b'{"model": "digits", "input": [[Infinity]]}', "Infinity"),
        (b'{"model": "digits", "input": [[-Infinity]]}', "Infinity"),
        (b'{"model": "digits", "input": [[1e400]]}', "input[0][0] has a number too large"),
        (b'{"model": "digits", "input": [[-1e400]]}', "input[0][0] has a number too large"),
        (b'{"model": "digits", "input": [[' + b"9" * 5000 + b"]]}", "too many digits"),
        (b'{"model": "sentiment", "input": "\\ud800"}', "input has a lone surrogate at character 0"),
        (b'{"model": "sentiment", "input": "ab\\udc00c"}', "input has a lone surrogate at character 2"),
        (b'{"\\ud800": 1}', "lone surrogate"),
        (b'{"model": "sentiment", "input": "a\\u0000b"}', "input has a NUL"),
        (b'{"model": "a\\u0000b", "input": "x"}', "model has a NUL"),
        (nested(40), "deeper than 32"),
        (nested(1_000), "deeper than 32"),
        (nested(100_000), "deeper than 32"),
        (b'{"a":' * 100_000, "deeper than 32"),
        (b"[]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b"17", "must be a JSON object"),
        (b'"input"', "must be a JSON object"),
        (b"true", "must be a JSON object"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_json_that_cannot_be_read(acme: Customer, live_worker: LiveWorker, body: bytes, words: str) -> None:
    for path in ("/v2/predict", "/v2/batch-predict"):
        answer = Api(acme).post(path, body)
        assert_problem(answer, ErrorKind.MALFORMED, words)
        assert_limit_headers(answer)
    ledger.assert_untouched(acme)
    assert live_worker.batches == []


def test_an_empty_body_names_what_is_missing(acme: Customer, live_worker: LiveWorker) -> None:
    assert_problem(Api(acme).post("/v2/predict", b""), ErrorKind.INVALID_INPUT, "missing", field="input")
    assert_problem(Api(acme).post("/v2/batch-predict", b""), ErrorKind.INVALID_INPUT, "missing", field="requests")
    ledger.assert_untouched(acme)


@pytest.mark.parametrize("number", [b"-0.0", b"1E2", b"1e-400", b"0.1"])
def test_odd_numbers_that_are_numbers(acme: Customer, live_worker: LiveWorker, number: bytes) -> None:
    image = [[0] * 8 for _ in range(8)]
    text = json.dumps({"model": "digits", "input": image}).encode().replace(b"[[0,", b"[[" + number + b",", 1)
    answer = Api(acme).post("/v2/predict", text)
    assert answer.status == (422 if number == b"1E2" else 200)


def test_a_body_of_exactly_the_limit_is_read(acme: Customer, settings: object) -> None:
    settings.MAX_BODY_BYTES = 1_000  # type: ignore[attr-defined]
    api = Api(acme)
    body = json.dumps({"model": "no-such", "input": ""})
    fits = body.replace('""', f'"{"x" * (1_000 - len(body))}"').encode()
    assert len(fits) == 1_000
    assert_problem(api.post("/v2/predict", fits), ErrorKind.NOT_FOUND)
    assert_problem(api.post("/v2/predict", fits + b" "), ErrorKind.PAYLOAD_TOO_LARGE, "1,000 bytes")
    ledger.assert_untouched(acme)


@pytest.mark.parametrize("path", PATHS)
def test_two_megabytes_are_the_limit(acme: Customer, path: str) -> None:
    body = b'{"input": "' + b"x" * (2 * 1024 * 1024) + b'"}'
    answer = Api(acme).post(path, body)
    assert_problem(answer, ErrorKind.PAYLOAD_TOO_LARGE, "2,097,152 bytes")
    ledger.assert_untouched(acme)


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/mixed; boundary=x",
        "image/gif",
        "",
        "application/jsonp",
    ],
)
def test_a_body_must_say_that_it_is_json(acme: Customer, content_type: str) -> None:
    body = b'{"model": "sentiment", "input": "x"}'
    answer = Api(acme).call("POST", "/v2/predict", content=body, content_type=content_type)
    assert_problem(answer, ErrorKind.UNSUPPORTED_MEDIA_TYPE)
    assert_limit_headers(answer)
    ledger.assert_untouched(acme)


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON"])
def test_json_by_another_spelling(acme: Customer, live_worker: LiveWorker, content_type: str) -> None:
    body = b'{"model": "sentiment", "input": "x"}'
    assert Api(acme).call("POST", "/v2/predict", content=body, content_type=content_type).status == 200


def test_a_compressed_body_that_does_not_say_so_is_not_json(acme: Customer) -> None:
    body = gzip.compress(b'{"model": "sentiment", "input": "x"}')
    assert_problem(Api(acme).post("/v2/predict", body), ErrorKind.MALFORMED, "UTF-8")
    ledger.assert_untouched(acme)


def test_a_query_of_thousands_of_parameters_is_a_problem(acme: Customer) -> None:
    query = "&".join(f"p{number}=1" for number in range(1_100))
    assert_problem(Api(acme).get(f"/v2/me?{query}"), ErrorKind.MALFORMED)


# --- Whatever comes: never a 5xx ------------------------------------------------------------------------------------------

_leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["sentiment", "digits", "minilm"])
)
_values = st.recursive(
    _leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_requests = st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from(["sentiment", "digits", "minilm", "sentiment@2.0.0"]) | _values,
        "input": _values,
        "parameters": st.dictionaries(st.sampled_from(["top_k", "other"]), _values, max_size=2) | _values,
    },
)
_bodies = st.one_of(
    st.binary(max_size=200),
    _values.map(lambda value: json.dumps(value).encode()),
    _requests.map(lambda value: json.dumps(value).encode()),
    st.lists(_requests | _values, max_size=3).map(lambda items: json.dumps({"requests": items}).encode()),
)


@given(path=st.sampled_from(PATHS), body=_bodies)
@examples(150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_body_is_answered_with_a_5xx(acme: Customer, live_worker: LiveWorker, path: str, body: bytes) -> None:
    before = ledger.units(acme.tenant)
    answer = Api(acme).post(path, body)
    assert answer.status in {200, 400, 404, 422, 429}, answer.content
    if answer.status != 200:
        assert answer.body["detail"]
        assert ledger.units(acme.tenant) == before
