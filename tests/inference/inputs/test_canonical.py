"""Canonical bytes: what is hashed, cached and computed is one and the same, and different inputs never collide."""

import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from inference.inputs import canonical
from inference.runtimes import inputs
from inference.types import FlatTensor, ImageFile, ModelRef, TextPair
from mlplatform.lib.errors import ErrorKind, PlatformError

TEXT: dict[str, Any] = {"kind": "text", "max_chars": 50}
PAIR: dict[str, Any] = {"kind": "pair", "max_chars": 50}
GRID: dict[str, Any] = {"kind": "tensor", "dtype": "float32", "shape": [2, 3]}
PIXELS = GRID | {"minimum": 0, "maximum": 16}
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=50).filter(
    str.strip
)
SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=3)


def nested(shape: list[int]) -> st.SearchStrategy[Any]:
    inner: st.SearchStrategy[Any] = st.floats(width=32, allow_nan=False, allow_infinity=False)
    for size in reversed(shape):
        inner = st.lists(inner, min_size=size, max_size=size)
    return inner


def flat(value: Any) -> list[float]:
    return [number for item in value for number in flat(item)] if isinstance(value, list) else [value]


def refused(schema: dict[str, Any], value: Any) -> PlatformError:
    with pytest.raises(PlatformError) as caught:
        canonical.encode(schema, value, field="input")
    assert caught.value.kind is ErrorKind.INVALID_INPUT
    return caught.value


@given(TEXTS)
def test_text_comes_back(text: str) -> None:
    assert inputs.decode(canonical.encode(TEXT, text, field="input")) == text


@given(TEXTS, TEXTS)
def test_a_pair_comes_back(text: str, pair: str) -> None:
    assert inputs.decode(canonical.encode(PAIR, TextPair(text, pair), field="input")) == (text, pair)


@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_pairs_never_collide_although_texts_may_continue_each_other(a: str, b: str, c: str, d: str) -> None:
    assume((a, b) != (c, d))
    one = canonical.encode(PAIR, TextPair(a, b), field="input")
    assert one != canonical.encode(PAIR, TextPair(c, d), field="input")
    if len(b) > 1 and b[1:].strip() and len(a) < 50:
        assert one != canonical.encode(PAIR, TextPair(a + b[0], b[1:]), field="input"), (
            "the same letters, cut elsewhere"
        )


@pytest.mark.parametrize(
    ("pair", "field", "words"),
    [
        (TextPair("", "b"), "input.text", "is empty"),
        (TextPair("a", " "), "input.pair", "is empty"),
        (TextPair("a", "b" * 51), "input.pair", "at most 50"),
        (TextPair("a", 7), "input.pair", "a number"),  # type: ignore[arg-type]
        (TextPair("a\x00", "b"), "input.text", "NUL"),
        (TextPair("a", "\ud800"), "input.pair", "surrogate"),
        ("words", "input", "two texts"),
        ({"text": "a", "pair": "b"}, "input", "an object"),
    ],
)
def test_a_pair_that_is_wrong_is_refused_at_its_place(pair: Any, field: str, words: str) -> None:
    problem = refused(PAIR, pair)
    assert problem.field == field
    assert words in problem.detail


@pytest.mark.parametrize("value", [ImageFile(b"x"), TextPair("a", "b")])
def test_other_kinds_of_input_are_named(value: Any) -> None:
    for schema in (TEXT, GRID):
        assert "this is" in refused(schema, value).detail


def test_bytes_that_are_no_input_are_refused() -> None:
    for payload in (b"", b"x123"):
        with pytest.raises(ValueError, match="no input"):
            inputs.decode(payload)


@given(SHAPES.flatmap(lambda shape: st.tuples(st.just(shape), nested(shape))))
def test_a_tensor_comes_back_with_its_shape_and_every_bit(case: tuple[list[int], Any]) -> None:
    shape, value = case
    decoded = inputs.decode(canonical.encode({"kind": "tensor", "shape": shape}, value, field="input"))
    numbers = flat(value)
    assert isinstance(decoded, np.ndarray)
    assert decoded.shape == tuple(shape)
    assert decoded.tobytes() == struct.pack(f"<{len(numbers)}f", *numbers), "-0.0 differs from 0.0 here"
    assert not decoded.flags.writeable, "it is a view of the message"


@given(st.data())
def test_different_typed_values_never_collide(data: st.DataObject) -> None:
    def one() -> tuple[Any, bytes]:
        if data.draw(st.booleans()):
            text = data.draw(TEXTS)
            return text, canonical.encode(TEXT, text, field="input")
        shape = data.draw(SHAPES)
        value = data.draw(nested(shape))
        return (shape, struct.pack(f"<{math.prod(shape)}f", *flat(value))), canonical.encode(
            {"kind": "tensor", "shape": shape}, value, field="input"
        )

    (first, first_bytes), (second, second_bytes) = one(), one()
    assert (first == second) == (first_bytes == second_bytes)


def test_a_text_that_looks_like_a_tensor_is_another_input() -> None:
    tensor = canonical.encode({"kind": "tensor", "shape": [1]}, [1.0], field="input")
    text = canonical.encode(TEXT, "t" + tensor.decode("latin-1").replace("\x00", "?"), field="input")
    assert text[:1] != tensor[:1]


def test_whole_numbers_are_the_same_values_and_minus_zero_is_not_zero() -> None:
    schema = {"kind": "tensor", "shape": [1]}
    assert canonical.encode(schema, [1], field="i") == canonical.encode(schema, [1.0], field="i")
    assert canonical.encode(schema, [-0.0], field="i") != canonical.encode(schema, [0.0], field="i")


@pytest.mark.parametrize(
    "wrong",
    [float("nan"), float("inf"), float("-inf"), 3.5e38, 10**400, -(10**400), True, False, "1", None, [1], {"a": 1}],
)
@given(place=st.integers(0, 5))
def test_what_is_no_number_is_refused_at_its_exact_place(wrong: Any, place: int) -> None:
    value: list[list[Any]] = [[1.0, 2, 3.0], [4.0, 5.0, 6]]
    value[place // 3][place % 3] = wrong
    assert refused(GRID, value).field == f"input[{place // 3}][{place % 3}]"


@pytest.mark.parametrize(
    ("value", "field", "words"),
    [
        ([[1, 2, 3]], "input", "2 values here, not 1"),
        ([[1, 2, 3], [1, 2]], "input[1]", "3 values here, not 2"),
        ([[1, 2, 3], 4], "input[1]", "a list is missing"),
        ([[1, 2, 3], [[1], 2, 3]], "input[1][0]", "this is a list"),
        ("text", "input", "a list is missing"),
        ({}, "input", "a list is missing"),
        (None, "input", "a list is missing"),
        ([], "input", "2 values here, not 0"),
        ([[1, 2, 3], [1, 17, 3]], "input[1][1]", "between 0 and 16"),
        ([[1, 2, -1], [1, 17, 3]], "input[0][2]", "between 0 and 16"),
        ([[1, 2, True], [1, 2, 3]], "input[0][2]", "true or false"),
    ],
)
def test_a_wrong_tensor_is_refused_by_its_place(value: Any, field: str, words: str) -> None:
    error = refused(PIXELS, value)
    assert error.field == field
    assert words in error.detail


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("x" * 51, "51 characters; the model takes at most 50"),
        ("a\x00b", "NUL"),
        ("ab\ud800", "lone surrogate at character 2"),
        (1, "this is a number"),
        (1.5, "this is a number"),
        (True, "this is true or false"),
        (None, "this is null"),
        (["a"], "this is a list"),
        ({"a": 1}, "this is an object"),
    ],
)
def test_a_wrong_text_is_refused_with_the_reason(value: Any, words: str) -> None:
    error = refused(TEXT, value)
    assert error.field == "input"
    assert words in error.detail


def reference(**changes: Any) -> ModelRef:
    fields: dict[str, Any] = {
        "version_id": 1,
        "name": "m",
        "version": "1.0.0",
        "runtime": "text-classification",
        "digest": "ab" * 32,
        "outputs": 2,
        "labels": ("a", "b"),
        "input_schema": TEXT,
        "output_schema": {},
        "max_batch_size": 4,
        "cache_ttl_s": 60,
        "shared_cache": False,
        "cache_epoch": 0,
        "live": True,
    }
    return ModelRef(**{**fields, **changes})


@given(
    st.tuples(st.integers(1, 3), st.integers(0, 2), st.sampled_from(["ab", "cd"]), TEXTS),
    st.tuples(st.integers(1, 3), st.integers(0, 2), st.sampled_from(["ab", "cd"]), TEXTS),
)
def test_cache_keys_differ_by_tenant_epoch_artefact_and_input(first: Any, second: Any) -> None:
    def key(tenant: int, epoch: int, digest: str, text: str) -> bytes:
        payload = canonical.encode(TEXT, text, field="input")
        return canonical.cache_key(reference(cache_epoch=epoch, digest=digest * 32), payload, tenant_id=tenant)

    assert (key(*first) == key(*second)) == (first == second)
    assert len(key(*first)) == 32


def test_only_a_shared_cache_is_shared() -> None:
    payload = canonical.encode(TEXT, "hello", field="input")
    shared = reference(shared_cache=True)
    assert canonical.cache_key(shared, payload, tenant_id=1) == canonical.cache_key(shared, payload, tenant_id=2)
    own = reference()
    keys = {canonical.cache_key(own, payload, tenant_id=tenant) for tenant in (1, 2)}
    assert len(keys | {canonical.cache_key(shared, payload, tenant_id=1)}) == 3


@given(st.lists(TEXTS, min_size=2, max_size=2))
def test_bounds_of_the_schema_leave_the_bytes_alone(texts: list[str]) -> None:
    assume(texts[0] != texts[1])
    wide = TEXT | {"max_chars": 1000}
    assert canonical.encode(TEXT, texts[0], field="a") == canonical.encode(wide, texts[0], field="b")


@given(SHAPES.flatmap(lambda shape: st.tuples(st.just(shape), nested(shape))))
def test_binary_numbers_are_the_same_bytes_as_lists(case: tuple[list[int], Any]) -> None:
    shape, value = case
    schema = {"kind": "tensor", "shape": shape}
    expected = canonical.encode(schema, value, field="input")
    tensor = np.array(value, dtype=np.float32)
    assert canonical.encode(schema, tensor, field="input") == expected
    assert canonical.encode(schema, FlatTensor(tensor.reshape(-1)), field="input") == expected
    assert canonical.encode(schema, tensor.astype(">f4"), field="input") == expected


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 16.5, -1.0])
def test_binary_numbers_are_refused_as_lists_are(bad: float) -> None:
    tensor = np.zeros((2, 3), dtype=np.float32)
    tensor[1, 2] = bad
    assert refused(PIXELS, tensor).field == refused(PIXELS, tensor.tolist()).field == "input[1][2]"
    assert refused(PIXELS, FlatTensor(tensor.reshape(-1))).field == "input[5]"
    assert refused(PIXELS, tensor).detail == refused(PIXELS, tensor.tolist()).detail


@pytest.mark.parametrize(
    "value",
    [np.zeros((3, 2), np.float32), np.zeros(6, np.float32), FlatTensor(np.zeros(5, np.float32)), np.zeros((0, 3))],
)
def test_binary_numbers_of_another_shape_are_refused(value: Any) -> None:
    assert "[2, 3]" in refused(GRID, value).detail


def test_a_model_for_texts_says_what_it_takes() -> None:
    numbers = FlatTensor(np.zeros(1, np.float32))
    assert refused(TEXT, numbers).detail == "The model takes text; this is a list of numbers."
