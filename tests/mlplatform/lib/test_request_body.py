"""Bodies and what unpacks them: whatever the pieces are in which they come, and no further than the limit."""

import gzip
import io
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlplatform.lib import request_body, unpacking
from mlplatform.lib.errors import ErrorKind, PlatformError

codings = st.sampled_from(["gzip", "deflate"])
contents = st.binary(max_size=3_000) | st.integers(0, 400_000).map(lambda size: b"ab" * size)


def meta_of(content: bytes, *, chunked: bool = False, **more: Any) -> dict[str, Any]:
    length = {"HTTP_TRANSFER_ENCODING": "chunked"} if chunked else {"CONTENT_LENGTH": str(len(content))}
    return {"wsgi.input": io.BytesIO(content), **length, **more}


@given(content=contents, cuts=st.lists(st.integers(1, 5_000), min_size=1, max_size=5), coding=codings)
def test_any_pieces_unpack_to_the_same(content: bytes, cuts: list[int], coding: str) -> None:
    packed = gzip.compress(content) if coding == "gzip" else zlib.compress(content)
    pieces, start, turn = [], 0, 0
    while start < len(packed):
        pieces.append(packed[start : start + cuts[turn % len(cuts)]])
        start, turn = start + len(pieces[-1]), turn + 1
    parts = list(unpacking.unpacked(pieces, coding))
    assert b"".join(parts) == content
    assert all(len(part) <= 64 * 1024 for part in parts)
    for cut in (1, 4, len(packed) - 1):
        with pytest.raises(PlatformError, match="cut off"):
            list(unpacking.unpacked([packed[:-cut]], coding))
    with pytest.raises(PlatformError, match="follows"):
        list(unpacking.unpacked([*pieces, b"x"], coding))


@given(first=contents, second=contents)
def test_members_of_gzip_follow_each_other(first: bytes, second: bytes) -> None:
    whole = gzip.compress(first) + gzip.compress(second)
    assert b"".join(unpacking.unpacked([whole], "gzip")) == first + second == gzip.decompress(whole)


def test_deflate_has_one_member() -> None:
    with pytest.raises(PlatformError, match="follows"):
        list(unpacking.unpacked([zlib.compress(b"a") * 2], "deflate"))


@given(content=st.binary(max_size=2_000), limit=st.integers(0, 2_000))
def test_the_limit_is_met_exactly(content: bytes, limit: int) -> None:
    packed = gzip.compress(content)
    for meta in (
        meta_of(content),
        meta_of(content, chunked=True),
        meta_of(packed, HTTP_CONTENT_ENCODING="gzip"),
        meta_of(packed, chunked=True, HTTP_CONTENT_ENCODING="gzip"),
    ):
        body = request_body.of(meta)
        if len(content) <= limit:
            assert body.whole(limit=limit) == content
            assert body.whole(limit=limit) == content, "it is kept"
            assert request_body.of(meta) is body
        else:
            with pytest.raises(PlatformError) as caught:
                body.whole(limit=limit)
            assert caught.value.kind is ErrorKind.PAYLOAD_TOO_LARGE


def test_what_unpacks_to_nothing_is_bounded_too() -> None:
    """Empty blocks of deflate are five bytes each and unpack to nothing, as often as one likes."""
    head = gzip.compress(b"", mtime=0)[:10]
    assert list(unpacking.unpacked([head + b"\x00\x00\x00\xff\xff" * 100 + b"\x03\x00" + bytes(8)], "gzip")) == []
    endless = meta_of(head + b"\x00\x00\x00\xff\xff" * 5_000_000, chunked=True, HTTP_CONTENT_ENCODING="gzip")
    with pytest.raises(PlatformError) as caught:
        request_body.of(endless).whole(limit=1_000)
    assert caught.value.kind is ErrorKind.PAYLOAD_TOO_LARGE
    stream: io.BytesIO = endless["wsgi.input"]
    assert stream.tell() < 17_000_000


class Counting(io.RawIOBase):
    """As many bytes as are read."""

    def __init__(self) -> None:
        self.read_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.read_bytes += len(buffer)
        return len(buffer)


@pytest.mark.parametrize(
    ("more", "least", "most"),
    [
        ({"HTTP_TRANSFER_ENCODING": "chunked"}, 16_000_000, 18_000_000),
        ({"CONTENT_LENGTH": "3000000"}, 3_000_000, 3_000_000),
        ({"CONTENT_LENGTH": "3000000", "HTTP_EXPECT": "100-continue"}, 0, 0),
        ({"CONTENT_LENGTH": "17000000"}, 0, 0),
        ({"CONTENT_LENGTH": "9" * 30}, 0, 0),
    ],
)
def test_how_much_is_read_of_what_is_refused(more: dict[str, Any], least: int, most: int) -> None:
    """Some, for clients that look for the answer when they have sent everything; never without a bound."""
    source = Counting()
    with pytest.raises(PlatformError) as caught:
        request_body.of({"wsgi.input": source, **more}).whole(limit=1_000_000)
    assert caught.value.kind is ErrorKind.PAYLOAD_TOO_LARGE
    assert least <= source.read_bytes <= most


@pytest.mark.parametrize(
    ("content_type", "content", "good"),
    [
        ("multipart/form-data; boundary=ab", b"--ab\r\n\r\nx\r\n--ab--\r\n", True),
        ("multipart/form-data; boundary=ab", b"--ab\r\n\r\nx\r\n--ab--", True),
        ("multipart/form-data; boundary=ab", b"--ab\r\n\r\nx\r\n--ab--\r\nwhat follows", True),
        ('Multipart/Form-Data; charset=utf-8; Boundary="a,b c"', b"--a,b c\r\n\r\nx\r\n--a,b c--", True),
        ("multipart/form-data; boundary=ab", b"--ab\r\n\r\nx\r\n--ab-", False),
        ("multipart/form-data; boundary=ab", b"--ab\r\n\r\nx\r\n", False),
        ("multipart/form-data; boundary=ab", b"", False),
        ("application/octet-stream; boundary=ab", b"anything", True),
    ],
)
def test_a_form_in_chunks_must_have_its_end(content_type: str, content: bytes, good: bool) -> None:
    body = request_body.of(meta_of(content, chunked=True, CONTENT_TYPE=content_type))
    if good:
        assert body.whole(limit=1_000) == content
    else:
        with pytest.raises(PlatformError, match="cut off"):
            body.whole(limit=1_000)


def test_lengths_that_are_none() -> None:
    for length in ("-1", "1.0", "²", "x"):
        with pytest.raises(PlatformError) as caught:
            request_body.of({"wsgi.input": io.BytesIO(), "CONTENT_LENGTH": length}).whole(limit=10)
        assert caught.value.kind is ErrorKind.MALFORMED
    assert request_body.of({"wsgi.input": io.BytesIO(b"x"), "CONTENT_LENGTH": ""}).is_none
    assert request_body.of({"wsgi.input": io.BytesIO(b"x")}).whole(limit=10) == b""


def test_a_body_as_a_file() -> None:
    content = bytes(range(256)) * 1_000
    meta = meta_of(gzip.compress(content), chunked=True, HTTP_CONTENT_ENCODING="gzip")
    stream = request_body.of(meta).stream(limit=len(content))
    assert stream.read(10) == content[:10]
    assert stream.read(100_000) == content[10:100_010]
    assert stream.read() == content[100_010:]
    with pytest.raises(PlatformError, match="larger than"):
        request_body.of(meta_of(content, chunked=True)).stream(limit=len(content) - 1).read()
