"""Valid documents read as Python's parser reads them; what two parsers could read differently is refused with its place."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlplatform.lib import strict_json
from mlplatform.lib.errors import ErrorKind, PlatformError

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=20
)


def refused(body: bytes, **options: Any) -> PlatformError:
    with pytest.raises(PlatformError) as caught:
        strict_json.loads(body, **options)
    assert caught.value.kind is ErrorKind.MALFORMED
    return caught.value


@given(DOCUMENTS, st.booleans())
def test_a_valid_document_reads_as_it_was_written(document: Any, escaped: bool) -> None:
    body = json.dumps(document, ensure_ascii=escaped).encode()
    read = strict_json.loads(body)
    assert read == document
    # Equality takes 1, 1.0 and True for the same; their texts differ.
    assert json.dumps(read) == json.dumps(document)


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused_and_nothing_else_happens(body: bytes) -> None:
    try:
        document = strict_json.loads(body)
    except PlatformError as error:
        kind = error.kind
    else:
        kind = ErrorKind.MALFORMED
        json.dumps(document, allow_nan=False).encode()
    assert kind is ErrorKind.MALFORMED


@pytest.mark.parametrize(
    ("body", "words", "field"),
    [
        (b'{"a": 1, "a": 2}', "'a' stands twice", None),
        (b'{"a": [{"b": 1, "b": 1}]}', "'b' stands twice", None),
        (b"[NaN]", "NaN is not a JSON number", None),
        (b"[-Infinity]", "-Infinity is not a JSON number", None),
        (b'{"a": [0, 1e400]}', "a[1] has a number too large", "a[1]"),
        (b"-1e999", "The body has a number too large", None),
        (b'{"a": "\\ud800"}', "a has a lone surrogate at character 0", None),
        (b'{"a": {"\\udc00": 1}}', "a has a lone surrogate", None),
        (b'{"a": [["x\\u0000"]]}', "a[0][0] has a NUL", "a[0][0]"),
        ('{"a": "é\\u0000"}'.encode(), "a has a NUL", "a"),
        (b'"\\u0000"', "The body has a NUL", None),
        (b'"\xff"', "not UTF-8: byte 1", None),
        (b'{"a": 1,}', "not JSON: ", None),
        (b"", "not JSON: ", None),
        (b"\xef\xbb\xbf{}", "not JSON: ", None),
        (b"[" + b"1" * 5000 + b"]", "too many digits", None),
        (b"[1] [2]", "line 1, column 5", None),
    ],
)
def test_what_is_ambiguous_is_refused_by_its_place(body: bytes, words: str, field: str | None) -> None:
    error = refused(body)
    assert words in error.detail
    assert error.field == field


@pytest.mark.parametrize("depth", [33, 1_000, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_deep_nesting_is_refused_however_deep(depth: int, opening: bytes, closing: bytes) -> None:
    assert "deeper than 32 levels" in refused(opening * depth + b"1" + closing * depth).detail


def test_the_deepest_document_that_is_allowed_is_read_and_another_limit_is_named_in_its_refusal() -> None:
    assert json.dumps(strict_json.loads(b"[" * 32 + b"]" * 32)) == "[" * 32 + "]" * 32
    assert "deeper than 2 levels" in refused(b"[[[]]]", max_depth=2).detail


def test_a_huge_key_is_not_sent_back_whole() -> None:
    error = refused(b'{"' + b"k" * 100_000 + b'": {"b": 1e999}}')
    assert len(error.detail) < 300
    assert error.field is not None
    assert error.field.endswith("….b")
