"""Bodies that came before: kept by tenant and API version, and never without a bound."""

from typing import Any

from inference.engine.preparing import Encoded
from inference.types import PredictRequest
from mlplatform.http.repeated import Bodies

REF: Any = object()
"""Bodies never look into a version."""


def encoded(text: str) -> Encoded:
    return Encoded(PredictRequest("large", text), REF, b"t" + text.encode(), b"key", 0)


def test_a_body_is_known_to_its_tenant_in_its_api_version() -> None:
    bodies = Bodies()
    bodies.keep(1, "v2", b"{}", encoded("hello"))
    assert bodies.encoded(1, "v2", b"{}") == encoded("hello")
    assert bodies.encoded(2, "v2", b"{}") is None
    assert bodies.encoded(1, "v1", b"{}") is None
    assert bodies.encoded(1, "v2", b"{ }") is None


def test_the_last_word_about_a_body_counts() -> None:
    bodies = Bodies()
    bodies.keep(1, "v2", b"{}", encoded("before"))
    bodies.keep(1, "v2", b"{}", encoded("after"))
    assert bodies.encoded(1, "v2", b"{}") == encoded("after")


def test_neither_large_bodies_nor_more_than_4096_are_kept() -> None:
    bodies = Bodies()
    bodies.keep(1, "v2", b"x" * 1024, encoded("just"))
    bodies.keep(1, "v2", b"x" * 1025, encoded("too large"))
    assert bodies.encoded(1, "v2", b"x" * 1024) is not None
    assert bodies.encoded(1, "v2", b"x" * 1025) is None
    for number in range(5000):
        bodies.keep(1, "v2", b"%d" % number, encoded(str(number)))
    kept = [number for number in range(5000) if bodies.encoded(1, "v2", b"%d" % number) is not None]
    assert len(kept) <= 4096
    assert kept[-1] == 4999
