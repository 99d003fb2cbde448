"""Tensors to inputs and answers to tensors, without a server: every layout gives the same numbers, every fault its place."""

import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from inference.oip import outputs, tensors
from inference.oip.outputs import Wanted
from inference.oip.tensors import Tensor, rows
from inference.types import LabelScore, ModelRef, PredictResult
from mlplatform.lib.errors import ErrorKind, PlatformError

IMAGES = ModelRef(
    version_id=1,
    name="images",
    version="1.0.0",
    runtime="tensor-classification",
    digest="00",
    outputs=3,
    labels=("a", "b", "c"),
    input_schema={"kind": "tensor", "shape": [2, 3]},
    output_schema={"kind": "classification"},
    max_batch_size=8,
    cache_ttl_s=0,
    shared_cache=False,
    cache_epoch=0,
    live=True,
)
TEXTS = replace(IMAGES, name="texts", runtime="text-classification", input_schema={"kind": "text"})
VECTORS = replace(TEXTS, name="vectors", labels=(), output_schema={"kind": "embedding", "dimensions": 4}, outputs=4)


def numbers(values: Any = None, *, shape: Any, datatype: str = "FP32", raw: bytes | None = None) -> Tensor:
    return Tensor("input", datatype, shape, raw=raw, values=values)


def texts(values: Any = None, *, shape: Any, raw: bytes | None = None) -> Tensor:
    return Tensor("text", "BYTES", shape, raw=raw, values=values)


def packed(*elements: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def refused(*given: Tensor, ref: ModelRef = IMAGES, most: int = 8) -> PlatformError:
    with pytest.raises(PlatformError) as caught:
        rows(given, ref, most=most)
    assert caught.value.kind is ErrorKind.INVALID_INPUT
    return caught.value


_floats = arrays.arrays(
    np.float32,
    st.integers(1, 5).map(lambda n: (n, 2, 3)),
    elements=st.floats(-1e6, 1e6, width=32),
)


@given(_floats)
def test_every_layout_holds_the_same_numbers(array: Any) -> None:
    shape = list(array.shape)
    for given_tensor in (
        numbers(shape=shape, raw=array.tobytes()),
        numbers(array.tolist(), shape=shape),
        numbers(array.reshape(-1).tolist(), shape=shape),
        numbers(array.reshape(-1), shape=shape),
    ):
        found = rows([given_tensor], IMAGES, most=8)
        assert [row.field for row in found] == [f"inputs[0].data[{index}]" for index in range(len(array))]
        for row, expected in zip(found, array, strict=True):
            assert isinstance(row.value, np.ndarray)
            assert row.value.dtype == np.float32
            assert row.value.tobytes() == expected.tobytes()


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=8))
def test_every_layout_holds_the_same_texts(values: list[str]) -> None:
    encoded = [value.encode() for value in values]
    count = len(values)
    for given_tensor in (
        texts(values, shape=[count]),
        texts([[value] for value in values], shape=[count, 1]),
        texts(encoded, shape=[count, 1]),
        texts(shape=[count], raw=packed(*encoded)),
    ):
        assert [row.value for row in rows([given_tensor], TEXTS, most=8)] == values


def outcome(tensor: Tensor, ref: ModelRef) -> list[tensors.Row] | PlatformError:
    try:
        return rows([tensor], ref, most=8)
    except PlatformError as problem:
        return problem


@given(st.binary(max_size=40), st.integers(1, 4))
def test_any_bytes_are_texts_or_a_refusal(raw: bytes, count: int) -> None:
    found = outcome(texts(shape=[count], raw=raw), TEXTS)
    if isinstance(found, PlatformError):
        assert found.kind is ErrorKind.INVALID_INPUT
        assert (found.field or "").startswith("inputs[0].data")
    else:
        assert packed(*[str(row.value).encode() for row in found]) == raw


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=20),
    st.lists(st.integers(-1, 4) | st.none() | st.booleans(), max_size=4),
)
def test_any_json_is_numbers_or_a_refusal(values: Any, shape: Any) -> None:
    for ref, tensor in ((IMAGES, numbers(values, shape=shape)), (TEXTS, texts(values, shape=shape))):
        found = outcome(tensor, ref)
        assert isinstance(found, list) or found.kind is ErrorKind.INVALID_INPUT


@pytest.mark.parametrize("datatype", ["FP16", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"])
def test_what_fp32_holds_exactly_is_taken(datatype: str) -> None:
    dtype = np.dtype(datatype.lower().replace("fp", "float"))
    array = np.array([[0, 1, 2], [3, 100, 127]], dtype=dtype)
    (row,) = rows([numbers(shape=[1, 2, 3], datatype=datatype, raw=array.tobytes())], IMAGES, most=8)
    assert isinstance(row.value, np.ndarray)
    assert np.array_equal(row.value, array.astype(np.float32))


@pytest.mark.parametrize("datatype", ["FP64", "BF16", "BOOL", "BYTES", "", "fp32", "x" * 1000])
def test_other_types_are_refused(datatype: str) -> None:
    problem = refused(numbers([0] * 6, shape=[1, 2, 3], datatype=datatype))
    assert problem.field == "inputs[0].datatype"
    assert len(problem.detail) < 300


@pytest.mark.parametrize("datatype", ["INT32", "INT64", "UINT32", "UINT64"])
def test_whole_numbers_that_fp32_would_round_are_refused(datatype: str) -> None:
    problem = refused(numbers([0, 0, 2**24 + 1, 0, 0, 0], shape=[1, 2, 3], datatype=datatype))
    assert problem.field == "inputs[0].data[2]"


def test_a_row_may_come_without_its_first_dimension() -> None:
    (row,) = rows([numbers([1, 2, 3, 4, 5, 6], shape=[2, 3])], IMAGES, most=8)
    assert row.value.tolist() == [[1, 2, 3], [4, 5, 6]]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("tensor", "field", "words"),
    [
        (numbers([0] * 6, shape=[1, 6]), "inputs[0].shape", "[n, 2, 3]"),
        (numbers([0] * 6, shape=[6]), "inputs[0].shape", "[n, 2, 3]"),
        (numbers([], shape=[0, 2, 3]), "inputs[0].shape", "at least 1"),
        (numbers([0] * 6, shape=[-1, 2, 3]), "inputs[0].shape", "at least 1"),
        (numbers([0] * 6, shape=[True, 2, 3]), "inputs[0].shape", "whole number"),
        (numbers([0] * 6, shape=[1.0, 2, 3]), "inputs[0].shape", "whole number"),
        (numbers([0] * 6, shape=[2**63, 2, 3]), "inputs[0].shape", "whole number"),
        (numbers([0] * 6, shape=[1] * 9), "inputs[0].shape", "dimensions"),
        (numbers([0] * 54, shape=[9, 2, 3]), "inputs[0].shape", "at most 8 rows"),
        (numbers([0] * 5, shape=[1, 2, 3]), "inputs[0].data", "5 elements"),
        (numbers([[[0, 0, 0], [0, 0]]], shape=[1, 2, 3]), "inputs[0].data[0][1]", "2 values"),
        (numbers([[[0, 0, 0], 5]], shape=[1, 2, 3]), "inputs[0].data[0][1]", "no list"),
        (numbers([[[0, 0, 0]]], shape=[1, 2, 3]), "inputs[0].data[0]", "1 values"),
        (numbers([0, 0, 0, True, 0, 0], shape=[1, 2, 3]), "inputs[0].data[0][1][0]", "number"),
        (numbers([0, 0, 0, "1", 0, 0], shape=[1, 2, 3]), "inputs[0].data[0][1][0]", "number"),
        (numbers([0, 0, 0, None, 0, 0], shape=[1, 2, 3]), "inputs[0].data[0][1][0]", "number"),
        (numbers([0, 0, 1.5, 0, 0, 0], shape=[1, 2, 3], datatype="INT32"), "inputs[0].data[0][0][2]", "number"),
        (numbers([0, 0, 300, 0, 0, 0], shape=[1, 2, 3], datatype="UINT8"), "inputs[0].data", "UINT8"),
        (numbers([0, 0, -1, 0, 0, 0], shape=[1, 2, 3], datatype="UINT8"), "inputs[0].data", "UINT8"),
        (
            numbers(np.array([0, 0, 300, 0, 0, 0], "i4"), shape=[1, 2, 3], datatype="INT8"),
            "inputs[0].data[0][0][2]",
            "does not fit into INT8",
        ),
        (
            numbers(np.array([0, 0, 0, 0, 0, 65_536], "u4"), shape=[1, 2, 3], datatype="UINT16"),
            "inputs[0].data[0][1][2]",
            "does not fit into UINT16",
        ),
        (numbers([0, 0, 10**400, 0, 0, 0], shape=[1, 2, 3]), "inputs[0].data", "FP32"),
        (numbers("000000", shape=[1, 2, 3]), "inputs[0].data", "list"),
        (numbers(None, shape=[1, 2, 3]), "inputs[0].data", "list"),
        (numbers(shape=[1, 2, 3], raw=b"\x00" * 23), "inputs[0].data", "need 24"),
        (numbers(shape=[1, 2, 3], raw=b"\x00" * 28), "inputs[0].data", "need 24"),
        (replace(numbers([0] * 6, shape=[1, 2, 3]), name="x" * 200), "inputs[0].name", "'input'"),
    ],
)
def test_a_wrong_tensor_names_its_place(tensor: Tensor, field: str, words: str) -> None:
    problem = refused(tensor)
    assert problem.field == field
    assert words in problem.detail


@pytest.mark.parametrize(
    ("tensor", "field"),
    [
        (texts(["a"], shape=[2]), "inputs[0].data"),
        (texts(["a", "b"], shape=[1, 2]), "inputs[0].shape"),
        (texts(["a"], shape=[1, 1, 1]), "inputs[0].shape"),
        (texts(["a", 5], shape=[2]), "inputs[0].data[1]"),
        (texts(["a", ["b"]], shape=[2]), "inputs[0].data[1]"),
        (texts([b"\xff"], shape=[1]), "inputs[0].data[0]"),
        (texts(shape=[1], raw=b"\x01\x00"), "inputs[0].data[0]"),
        (texts(shape=[1], raw=packed(b"abc")[:-1]), "inputs[0].data[0]"),
        (texts(shape=[2], raw=packed(b"abc")), "inputs[0].data[1]"),
        (texts(shape=[1], raw=packed(b"abc") + b"x"), "inputs[0].data"),
        (texts(shape=[1], raw=b"\xff\xff\xff\xff"), "inputs[0].data[0]"),
    ],
)
def test_a_wrong_text_names_its_place(tensor: Tensor, field: str) -> None:
    assert refused(tensor, ref=TEXTS).field == field


def test_a_model_takes_its_one_input_once() -> None:
    assert refused(ref=TEXTS).field == "inputs"
    tensor = texts(["a"], shape=[1])
    assert refused(tensor, tensor, ref=TEXTS).field == "inputs[1].name"
    assert refused(tensor, numbers([0] * 6, shape=[1, 2, 3])).field == "inputs[0].name"
    other = replace(TEXTS, input_schema={"kind": "sound"})
    assert refused(tensor, ref=other).field == "model"


# --- Answers ----------------------------------------------------------------------------------------------------------


def result(*pairs: tuple[str, float], embedding: Any = None) -> PredictResult:
    predictions = None if embedding is not None else [LabelScore(label, score) for label, score in pairs]
    return PredictResult("id", "m", "1.0.0", predictions, embedding, 1, False, 0, 1.0)


def test_labels_and_scores() -> None:
    results = [result(("b", 0.7), ("a", 0.3)), result(("a", 0.9), ("b", 0.1))]
    labels, scores = outputs.of(results, IMAGES, (), binary=False)
    assert (labels.name, labels.datatype, labels.shape) == ("labels", "BYTES", (2, 2))
    assert labels.flat() == ["b", "a", "a", "b"]
    assert labels.raw() == packed(b"b", b"a", b"a", b"b")
    assert (scores.name, scores.datatype, scores.shape) == ("scores", "FP32", (2, 2))
    assert np.frombuffer(scores.raw(), "<f4").tolist() == pytest.approx([0.7, 0.3, 0.9, 0.1])


def test_outputs_come_in_the_order_in_which_they_are_asked_for() -> None:
    wanted = [Wanted("scores", binary=True), Wanted("labels", binary=False)]
    made = outputs.of([result(("a", 1.0))], IMAGES, wanted, binary=False)
    assert [(one.name, one.binary) for one in made] == [("scores", True), ("labels", False)]


def test_classes_are_text() -> None:
    (classes,) = outputs.of([result(("b", 0.75), ("a", 0.25))], IMAGES, [Wanted("scores", None, 1)], binary=True)
    assert (classes.datatype, classes.shape, classes.flat()) == ("BYTES", (1, 1), ["0.750000:1:b"])


def test_an_embedding() -> None:
    vector = np.array([1, 2, 3, 4], dtype=np.float32)
    (made,) = outputs.of([result(embedding=vector)] * 3, VECTORS, (), binary=True)
    assert (made.name, made.datatype, made.shape) == ("embedding", "FP32", (3, 4))
    assert made.raw() == vector.tobytes() * 3


@pytest.mark.parametrize(
    ("ref", "wanted", "field"),
    [
        (IMAGES, [Wanted("embedding")], "outputs[0].name"),
        (VECTORS, [Wanted("scores")], "outputs[0].name"),
        (IMAGES, [Wanted("scores"), Wanted("scores")], "outputs[1].name"),
        (IMAGES, [Wanted("labels", None, 2)], "outputs[0].parameters.classification"),
    ],
)
def test_an_output_that_is_not_there(ref: ModelRef, wanted: list[Wanted], field: str) -> None:
    with pytest.raises(PlatformError) as caught:
        outputs.check(wanted, ref)
    assert caught.value.field == field
