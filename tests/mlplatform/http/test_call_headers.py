"""What the headers of a call say, read once for all calls that send the same."""

import pytest
from pytest_django import Settings

from inference.types import CachePolicy
from mlplatform.http.call_headers import Reader

JSON = (b"content-type", b"application/json")
KEY = (b"authorization", b"Bearer one")


def test_what_an_ordinary_call_says() -> None:
    said = Reader().read(
        [
            JSON,
            KEY,
            (b"user-agent", b" a client "),
            (b"x-request-timeout", b"2.5"),
            (b"cache-control", b"no-cache"),
            (b"accept-encoding", b"gzip"),
            (b"cookie", b"a=b"),
            (b"api-version", b"v2"),
            (b"x-request-id", b"mine"),
            (b"traceparent", b"00-a"),
        ]
    )
    assert said is not None
    assert (said.authorization, said.api_key, said.client, said.timeout_s) == ("Bearer one", "", "a client", 2.5)
    assert (said.cache, said.api_version) == (CachePolicy(read=False), "v2")
    assert said.environ == {"HTTP_ACCEPT_ENCODING": "gzip", "HTTP_COOKIE": "a=b"}
    assert (said.request_id, said.traceparent) == ("mine", "00-a")


@pytest.mark.parametrize(
    "headers",
    [
        [KEY],
        [(b"content-type", b"text/plain"), KEY],
        [JSON, KEY, (b"origin", b"https://app.example")],
        [JSON, KEY, (b"expect", b"100-continue")],
        [JSON, KEY, (b"transfer-encoding", b"chunked")],
        [JSON, KEY, (b"content-encoding", b"gzip")],
        [JSON, KEY, KEY],
        [JSON, KEY, (b"x-request-timeout", b"soon")],
    ],
)
def test_what_is_out_of_the_ordinary_or_wrong_is_for_a_thread(headers: list[tuple[bytes, bytes]]) -> None:
    reader = Reader()
    assert reader.read(headers) is None
    assert reader.read(headers) is None, "the second time too"


def test_the_same_headers_are_read_once() -> None:
    reader = Reader()
    said = reader.read([JSON, KEY])
    assert reader.read([JSON, KEY]) is said
    other = reader.read([JSON, (b"authorization", b"Bearer two")])
    assert other is not None
    assert other.authorization == "Bearer two"
    assert reader.read([JSON, KEY]) is said


@pytest.mark.parametrize("more", [(b"x-request-id", b"1"), (b"traceparent", b"1"), (b"user-agent", b"x" * 2048)])
def test_headers_of_one_call_and_large_ones_are_not_kept(more: tuple[bytes, bytes]) -> None:
    reader = Reader()
    assert reader.read([JSON, KEY, more]) is not reader.read([JSON, KEY, more])


def test_only_so_many_are_kept() -> None:
    reader = Reader()
    first = reader.read([JSON, KEY])
    for number in range(1024):
        reader.read([JSON, (b"authorization", b"%d" % number)])
    assert reader.read([JSON, KEY]) is not first


def test_where_https_is_wanted_a_thread_answers_what_came_without(settings: Settings) -> None:
    settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    reader = Reader()
    assert reader.read([JSON, KEY]) is None
    assert reader.read([JSON, KEY, (b"x-forwarded-proto", b"http")]) is None
    assert reader.read([JSON, KEY, (b"x-forwarded-proto", b"https")]) is not None
