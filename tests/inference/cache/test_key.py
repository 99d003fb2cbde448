"""The key of a cached answer: two inputs share one only where every model must answer them alike."""

import io
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from inference.inputs import canonical
from inference.types import REFUSE, TO_LIMIT, FlatTensor, ImageFile, TextPair
from mlplatform.lib.errors import PlatformError
from tests.inference.inputs.test_canonical import reference
from tests.support.examples import examples

TEXT: dict[str, Any] = {"kind": "text", "max_chars": 40}
PAIR: dict[str, Any] = {"kind": "pair", "max_chars": 40}
IMAGE: dict[str, Any] = {"kind": "image", "height": 2, "width": 3, "channels": 3, "resize": "stretch"}

# Few letters, so that texts which are alike but not equal come often: case, white space, composed and decomposed forms.
TEXTS = st.text(st.sampled_from("aAbtpfi \n\u00e9e\u0301\u200b\U0001f31e0"), min_size=1, max_size=6).filter(str.strip)
PAIRS = st.builds(TextPair, TEXTS, TEXTS)
SHAPES = st.lists(st.integers(1, 3), min_size=1, max_size=3)
NUMBERS = st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 5e-324, 1e-45, 3.4e38, 16777217.0])
PIXELS = st.binary(min_size=18, max_size=18)

Case = tuple[dict[str, Any], Any, tuple[Any, ...]]
"""A schema, an input for it, and the meaning of that input: what a model sees."""


def png(pixels: bytes, *, form: str = "PNG", **options: Any) -> ImageFile:
    file = io.BytesIO()
    Image.frombytes("RGB", (3, 2), pixels).save(file, format=form, **options)
    return ImageFile(file.getvalue())


def nested(shape: list[int], numbers: list[float]) -> Any:
    return np.array(numbers).reshape(shape).tolist()


@st.composite
def tensors(draw: st.DrawFn) -> Case:
    shape = draw(SHAPES)
    size = int(np.prod(shape))
    numbers = draw(st.lists(NUMBERS, min_size=size, max_size=size))
    seen = struct.pack(f"<{size}f", *numbers)
    return {"kind": "tensor", "shape": shape}, nested(shape, numbers), ("tensor", tuple(shape), seen)


CASES: st.SearchStrategy[Case] = st.one_of(
    TEXTS.map(lambda text: (TEXT, text, ("text", text))),
    PAIRS.map(lambda pair: (PAIR, pair, ("pair", pair.text, pair.pair))),
    tensors(),
    PIXELS.map(lambda pixels: (IMAGE, png(pixels), ("image", pixels))),
)
REFS = st.fixed_dictionaries(
    {
        "digest": st.sampled_from(["ab" * 32, "cd" * 32]),
        "cache_epoch": st.integers(0, 1),
        "version_id": st.integers(1, 2),
        "shared_cache": st.booleans(),
    }
)


def key(schema: dict[str, Any], value: Any, *, tenant_id: int = 1, truncate: int = REFUSE, **changes: Any) -> bytes:
    payload = canonical.encode(schema, value, field="input")
    ref = reference(input_schema=schema, **changes)
    return canonical.cache_key(ref, payload, tenant_id=tenant_id, truncate=truncate)


@given(CASES, CASES)
@examples(300)
def test_inputs_share_a_key_only_if_a_model_sees_the_same(first: Case, second: Case) -> None:
    assert (key(*first[:2]) == key(*second[:2])) == (first[2] == second[2])


@given(CASES, REFS, REFS, st.integers(1, 3), st.integers(1, 3))
def test_tenants_epochs_artefacts_and_versions_do_not_share(
    case: Case, first: dict[str, Any], second: dict[str, Any], tenant: int, other: int
) -> None:
    def scope(changes: dict[str, Any], tenant_id: int) -> tuple[Any, ...]:
        return (
            0 if changes["shared_cache"] else tenant_id,
            changes["digest"],
            changes["cache_epoch"],
            changes["version_id"],
        )

    schema, value, _ = case
    alike = scope(first, tenant) == scope(second, other)
    assert (key(schema, value, tenant_id=tenant, **first) == key(schema, value, tenant_id=other, **second)) == alike


@given(CASES)
def test_a_key_has_32_bytes_and_comes_out_the_same_each_time(case: Case) -> None:
    schema, value, _ = case
    assert key(schema, value) == key(schema, value)
    assert len(key(schema, value)) == 32


@given(tensors())
def test_lists_arrays_flat_numbers_and_other_byte_orders_are_one_input(case: Case) -> None:
    schema, value, _ = case
    array = np.array(value, dtype=np.float32)
    keys = {
        key(schema, given)
        for given in (value, array, array.astype(">f4"), np.asfortranarray(array), FlatTensor(array.reshape(-1)))
    }
    assert len(keys) == 1


@given(st.lists(st.integers(-(2**24), 2**24), min_size=1, max_size=4))
def test_whole_numbers_are_the_floats_that_they_equal(numbers: list[int]) -> None:
    schema = {"kind": "tensor", "shape": [len(numbers)]}
    assert key(schema, numbers) == key(schema, [float(number) for number in numbers])


@given(st.lists(st.booleans(), min_size=1, max_size=3))
def test_truth_values_have_no_key_at_all(values: list[bool]) -> None:
    with pytest.raises(PlatformError):
        key({"kind": "tensor", "shape": [len(values)]}, values)


@given(st.lists(NUMBERS, min_size=6, max_size=6))
def test_the_same_numbers_in_another_shape_are_another_input(numbers: list[float]) -> None:
    shapes = ([6], [2, 3], [3, 2], [1, 6], [6, 1], [1, 2, 3])
    assert len({key({"kind": "tensor", "shape": shape}, nested(shape, numbers)) for shape in shapes}) == len(shapes)


@given(TEXTS)
def test_where_a_pair_is_cut_matters(text: str) -> None:
    whole = f"a{text}b"
    cuts = [(whole[:place], whole[place:]) for place in range(1, len(whole))]
    pairs = [TextPair(*cut) for cut in cuts if all(part.strip() for part in cut)]
    assert len({key(PAIR, pair) for pair in pairs}) == len(pairs)
    assert key(PAIR, TextPair(text, "other")) != key(PAIR, TextPair("other", text))
    assert key(TEXT, whole) not in {key(PAIR, pair) for pair in pairs}


@given(PIXELS)
def test_files_of_the_same_pixels_are_one_input_and_of_others_are_not(pixels: bytes) -> None:
    keys = {
        key(IMAGE, file)
        for file in (png(pixels), png(pixels, compress_level=0), png(pixels, form="WEBP", lossless=True, exact=True))
    }
    assert len(keys) == 1
    changed = bytes([pixels[0] ^ 1]) + pixels[1:]
    assert key(IMAGE, png(changed)) not in keys


@given(TEXTS, st.integers(40, 1000))
def test_what_a_schema_allows_is_no_part_of_the_key(text: str, max_chars: int) -> None:
    assert key(TEXT, text) == key(TEXT | {"max_chars": max_chars}, text)


@given(CASES, CASES, st.integers(-1, 3), st.integers(-1, 3))
@examples(300)
def test_where_a_text_may_be_cut_is_part_of_the_key_unless_it_is_the_models_limit(
    first: Case, second: Case, here: int, there: int
) -> None:
    """That one is the same for all calls of a version, and the entry tells whether its text was cut."""
    same = (first[2], max(here, 0)) == (second[2], max(there, 0))
    assert (key(*first[:2], truncate=here) == key(*second[:2], truncate=there)) == same
    assert key(*first[:2], truncate=TO_LIMIT) == key(*first[:2])
