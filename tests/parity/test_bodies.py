"""A body is the same however it comes: with its length or in chunks, as it is or packed; on every address that takes one."""

import gzip
import io
import os
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from inference.models import ModelVersion
from mlplatform.lib import enqueue, unpacking
from tests.conftest import Customer
from tests.support import every_call, ledger
from tests.support.every_call import CALLS, Call
from tests.support.live_worker import LiveWorker
from tests.support.models_folder import models_dir, stored
from tests.support.rest import Api

__all__ = ["models_dir"]

pytestmark = pytest.mark.usefixtures("prices", "live_worker", "models_dir")

PACKED = {"content-encoding": "gzip"}
UPLOADS = {"push", "push form"}


class Unread(io.RawIOBase):
    """A body that must not be looked at."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        raise AssertionError("the body was read")


@pytest.fixture(autouse=True)
def no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker is asked to load what is pushed."""
    monkeypatch.setattr(enqueue, "send", lambda task, queue, kwargs: None)


@lru_cache(maxsize=1)
def bomb() -> bytes:
    """400 MB of blanks, packed: it takes a second to make."""
    packing = zlib.compressobj(9, wbits=31)
    return b"".join([*(packing.compress(b" " * 1_000_000) for _ in range(400)), packing.flush()])


@pytest.fixture(params=CALLS)
def call(request: pytest.FixtureRequest) -> Call:
    return CALLS[request.param]


def packed(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def test_each_way_is_answered(acme: Customer, call: Call) -> None:
    for chunked in (False, True):
        for content, headers in ((call.content, {}), (packed(call.content), PACKED)):
            answer = call.send(Api(acme), content=content, chunked=chunked, headers=headers)
            assert answer.status == call.status, answer.content
            ModelVersion.objects.filter(model__name="shapes").delete()  # So that it can be pushed again.


def test_more_than_the_limit_is_refused_in_the_words_of_the_face(
    acme: Customer, call: Call, settings: Settings, models_dir: Path
) -> None:
    settings.MAX_BODY_BYTES = len(call.content) - 1
    settings.MAX_PACKAGE_BYTES = 400  # Less than the zip is.
    large = every_call.form(("package", "shapes.zip", os.urandom(70_000)))  # A form may be 64 KiB larger than its file.
    content = large if call is CALLS["push form"] else call.content
    for chunked in (False, True):
        for sent, headers in ((content, {}), (packed(content), PACKED)):
            answer = call.send(Api(acme), content=sent, chunked=chunked, headers=headers)
            assert answer.status == 413, answer.content
            assert "larger than" in call.problem(answer.body)
    ledger.assert_untouched(acme)
    assert not stored(models_dir)


@pytest.mark.parametrize("name", sorted(CALLS.keys() - UPLOADS))
def test_a_bomb_goes_off_at_the_limit(acme: Customer, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    call = CALLS[name]
    unpacked: list[int] = []
    parts = unpacking.unpacked

    def counted(pieces: Any, coding: str) -> Any:
        for part in parts(pieces, coding):
            unpacked.append(len(part))
            yield part

    monkeypatch.setattr(unpacking, "unpacked", counted)
    answer = call.send(Api(acme), content=bomb(), chunked=True, headers=PACKED)
    assert answer.status == 413
    assert "2,097,152 bytes" in call.problem(answer.body)
    assert sum(unpacked) <= 2_097_152 + 64 * 1024
    ledger.assert_untouched(acme)


def test_a_bomb_in_a_push(acme: Customer, settings: Settings, models_dir: Path) -> None:
    settings.MAX_PACKAGE_BYTES = 100_000
    head, end = CALLS["push form"].content.split(b"PK", 1)[0], f"--{every_call.BOUNDARY}--".encode()
    for name, bomb in (("push", b" " * 50_000_000), ("push form", head + b"x" * 50_000_000 + b"\r\n" + end)):
        answer = CALLS[name].send(Api(acme), content=packed(bomb), headers=PACKED)
        assert answer.status == 413, answer.content
        assert "100,000 bytes" in CALLS[name].problem(answer.body)
    assert not ModelVersion.objects.filter(model__name="shapes").exists()
    assert not stored(models_dir)


def test_gzip_that_is_none(acme: Customer, call: Call, models_dir: Path) -> None:
    good = packed(call.content)
    for spoilt, words in (
        (good[:-5], "cut off"),
        (good[:7], "cut off"),
        (good + b"more", "follows"),
        (good + bytes(512), "follows"),
        (good[:-8] + bytes(8), "damaged"),
        (call.content, "not gzip"),
        (packed(b"") * 1_001 + good, "1,000 members"),
    ):
        answer = call.send(Api(acme), content=spoilt, headers=PACKED)
        assert answer.status == 400, answer.content
        assert words in call.problem(answer.body)
    ledger.assert_untouched(acme)
    assert not stored(models_dir)


def test_gzip_of_several_members_is_one_body(acme: Customer, call: Call) -> None:
    half = len(call.content) // 2
    content = packed(call.content[:half]) + packed(b"") + packed(call.content[half:])
    assert call.send(Api(acme), content=content, headers=PACKED).status == call.status


def test_other_codings_are_refused_unread(acme: Customer, call: Call) -> None:
    more: dict[str, Any] = {"content": b"x", "content_type": call.content_type, "wsgi.input": Unread()}
    for coding in ("br", "zstd", "compress", "gzip, gzip", "gzip,br", "x" * 5_000):
        headers = call.headers | {"content-encoding": coding}
        answer = Api(acme).call("POST", call.path, headers=headers, **more)
        assert answer.status == 415, answer.content
        assert "'Content-Encoding: gzip'" in call.problem(answer.body)
        assert "gzip" in answer.headers["Accept-Encoding"]
    ledger.assert_untouched(acme)


def test_other_names_of_the_same_coding(acme: Customer) -> None:
    for name in ("v2", "oip", "graphql"):
        call = CALLS[name]
        for coding in ("GZIP", "x-gzip", " gzip , identity"):
            assert (
                call.send(Api(acme), content=packed(call.content), headers={"content-encoding": coding}).status == 200
            )
        assert call.send(Api(acme), headers={"content-encoding": "identity"}).status == 200


def test_what_is_cut_off_is_refused(acme: Customer, call: Call, models_dir: Path) -> None:
    """The front knows where chunks end; what stands behind another server may not."""
    least = 3 if call.content_type == every_call.FORM else 1  # The last line break of a form may be missing.
    for missing in (least, 9, len(call.content) // 2):
        answer = call.send(Api(acme), content=call.content[:-missing], chunked=True)
        assert answer.status in {400, 422}, answer.content
        assert call.problem(answer.body)
        ledger.assert_untouched(acme)
        assert not stored(models_dir)


def test_a_length_that_is_not_reached_is_refused(acme: Customer, call: Call, models_dir: Path) -> None:
    more: dict[str, Any] = {
        "CONTENT_LENGTH": str(len(call.content) + 1),
        "wsgi.input": io.BytesIO(call.content),
        "content_type": call.content_type,
        "headers": call.headers,
    }
    answer = Api(acme).call("POST", call.path, content=call.content, **more)
    assert answer.status == 400, answer.content
    assert "cut off" in call.problem(answer.body)
    ledger.assert_untouched(acme)
    assert not stored(models_dir)


def test_other_transfer_codings_are_refused(acme: Customer, call: Call) -> None:
    for coding in ("gzip, chunked", "chunked, chunked", "identity"):
        answer = call.send(Api(acme), headers={"transfer-encoding": coding})
        assert answer.status == 400, answer.content
        assert "Transfer-Encoding" in call.problem(answer.body)
    ledger.assert_untouched(acme)


def test_a_call_that_is_refused_without_its_body_does_not_read_it(acme: Customer, call: Call) -> None:
    stranger = Api(secret="mlp_live_0123456789012345678901_000000")
    for coding in ("identity", "gzip"):
        more: dict[str, Any] = {
            "content": b"x",
            "content_type": call.content_type,
            "headers": call.headers | {"content-encoding": coding},
            "wsgi.input": Unread(),
        }
        assert stranger.call("POST", call.path, CONTENT_LENGTH="1000", **more).status == 401
        in_chunks: dict[str, Any] = {"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": ""}
        assert stranger.call("POST", call.path, **in_chunks, **more).status == 401
        assert Api(acme).call("POST", call.path, CONTENT_LENGTH=str(10**12), **more).status == 413


def test_an_empty_body_in_chunks_is_none(acme: Customer, live_worker: LiveWorker) -> None:
    """Some clients announce chunks before they know that there will be none."""
    api = Api(acme)
    for content_type in ("application/json", ""):
        plain = api.call("POST", "/v2/predict", content_type=content_type)
        chunked = api.call("POST", "/v2/predict", content_type=content_type, chunked=True)
        assert (plain.status, chunked.status) == (422, 422)
        assert plain.body["detail"] == chunked.body["detail"]
    assert api.call("POST", "/v2/predict", content=b"{}", content_type="", chunked=True).status == 415
