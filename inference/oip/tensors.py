"""Tensors of the Open Inference Protocol, and the inputs of models that they hold.

A text model takes one tensor ``text``: BYTES of shape ``[n]`` or ``[n, 1]``, one UTF-8 text a row. An image model takes one
tensor ``image`` of the same form: each element is the bytes of a file, in JSON as base64. A model of pairs takes one tensor
``pair``: BYTES of shape ``[n, 2]``, two texts a row. A tensor model takes one tensor ``input`` of shape ``[n, *shape]``; a
single row may come without its first dimension. It computes in FP32. FP16 and whole numbers are taken too where FP32 holds
each of them exactly; FP64 is refused, for rounding it is the caller's decision.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from inference.inputs.canonical import indices_of
from inference.inputs.json_inputs import image_bytes
from inference.oip.elements import elements_of, text_of
from inference.types import ImageFile, ModelRef, TextPair
from mlplatform.lib.errors import PlatformError, invalid

TEXT: Final = "text"
IMAGE: Final = "image"
PAIR: Final = "pair"
NUMBERS: Final = "input"
BYTES: Final = "BYTES"
FP32: Final = "FP32"

_DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
}
_LARGEST_EXACT: Final = 2**24  # up to here FP32 holds every whole number
_MAX_RANK: Final = 8


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor as it came. Its elements are either ``raw`` bytes, row-major and little-endian, or ``values``.

    ``values`` are a list as JSON has it, flat or nested, or an array of one dimension.
    """

    name: str
    datatype: str
    shape: Sequence[int]
    raw: bytes | memoryview | None = None
    values: "list[Any] | npt.NDArray[Any] | None" = None


@dataclass(frozen=True, slots=True)
class Row:
    """One input for the model; numbers are float32 of the model's shape. ``field`` names its place in errors."""

    value: "str | ImageFile | TextPair | npt.NDArray[np.float32]"
    field: str


@dataclass(frozen=True, slots=True)
class Expected:
    """The one tensor that a model takes. ``shape`` is that of a row; empty for a text or an image."""

    name: str
    datatype: str
    shape: tuple[int, ...]


def expected(ref: ModelRef) -> Expected:
    """What the model takes. Raises INVALID_INPUT for a model whose input no tensor can say."""
    kind = ref.input_schema["kind"]
    if kind in {TEXT, IMAGE}:
        return Expected(kind, BYTES, ())
    if kind == PAIR:
        return Expected(PAIR, BYTES, (2,))
    if kind == "tensor":
        return Expected(NUMBERS, FP32, tuple(ref.input_schema["shape"]))
    raise invalid("model", f"{ref.name} takes what no tensor can say; this protocol cannot ask it.")


def rows(tensors: Sequence[Tensor], ref: ModelRef, *, most: int) -> list[Row]:
    """The inputs that the tensors hold, one to ``most``. Raises INVALID_INPUT that names the tensor and the element.

    The range of numbers, and the length of texts, are left to the model's own check.
    """
    want = expected(ref)
    tensor = _the_one(tensors, want, ref)
    shape = _checked_shape(tensor)
    if want.datatype == BYTES:
        return _bytes_rows(tensor, shape, want, most)
    return _number_rows(tensor, shape, want, most)


# --- The call's tensors against what the model takes ------------------------------------------------------------------


def _the_one(tensors: Sequence[Tensor], want: Expected, ref: ModelRef) -> Tensor:
    for index, tensor in enumerate(tensors):
        if tensor.name != want.name:
            raise invalid(
                f"inputs[{index}].name",
                f"{ref.name} has no input {tensor.name[:64]!r}; it takes {want.name!r}, of type {want.datatype}.",
            )
    if not tensors:
        raise invalid("inputs", f"The input {want.name!r} is missing.")
    if len(tensors) > 1:
        raise invalid("inputs[1].name", f"The input {want.name!r} is given twice; more rows go into one tensor.")
    return tensors[0]


def _checked_shape(tensor: Tensor) -> tuple[int, ...]:
    shape = tuple(tensor.shape)
    if not 1 <= len(shape) <= _MAX_RANK:
        raise invalid("inputs[0].shape", f"A tensor here has 1 to {_MAX_RANK} dimensions, not {len(shape)}.")
    if any(type(size) is not int or not 1 <= size < 2**31 for size in shape):
        raise invalid("inputs[0].shape", "Each dimension is a whole number of at least 1.")
    return shape


def _checked_count(count: int, most: int) -> None:
    if count > most:
        raise invalid("inputs[0].shape", f"A call takes at most {most} rows, not {count:,}.")


def _bytes_rows(tensor: Tensor, shape: tuple[int, ...], want: Expected, most: int) -> list[Row]:
    name = want.name
    if tensor.datatype != BYTES:
        raise invalid("inputs[0].datatype", f"The input {name!r} is of type BYTES, not {tensor.datatype[:16]}.")
    if name == PAIR:
        if shape[1:] != want.shape:
            raise invalid("inputs[0].shape", f"The input 'pair' has shape [n, 2], not {list(shape)}.")
    elif len(shape) > 2 or shape[1:] not in {(), (1,)}:
        raise invalid("inputs[0].shape", f"The input {name!r} has shape [n] or [n, 1], not {list(shape)}.")
    _checked_count(shape[0], most)
    elements: Sequence[Any] = (
        elements_of(tensor.raw, math.prod(shape)) if tensor.raw is not None else _flat(tensor.values, shape)
    )
    places = [f"inputs[0].data[{index}]" for index in range(shape[0])]
    if name == PAIR:
        texts = [
            text_of(element, f"inputs[0].data{indices_of(index, shape)}") for index, element in enumerate(elements)
        ]
        pairs = zip(texts[::2], texts[1::2], strict=True)
        return [Row(TextPair(*pair), place) for pair, place in zip(pairs, places, strict=True)]
    if name == IMAGE:
        return [
            Row(ImageFile(image_bytes(element, field=place)), place)
            for element, place in zip(elements, places, strict=True)
        ]
    return [Row(text_of(element, place), place) for element, place in zip(elements, places, strict=True)]


def _number_rows(tensor: Tensor, shape: tuple[int, ...], want: Expected, most: int) -> list[Row]:
    dtype = _DTYPES.get(tensor.datatype)
    if dtype is None:
        hint = " Round it yourself, as with numpy's astype('float32')." if tensor.datatype in {"FP64", "BF16"} else ""
        raise invalid(
            "inputs[0].datatype",
            f"The input 'input' is of type FP32 (or one of {', '.join(sorted(_DTYPES.keys() - {FP32}))}), not "
            f"{tensor.datatype[:16]}.{hint}",
        )
    one_row = shape == want.shape
    if not one_row and shape[1:] != want.shape:
        sizes = ", ".join(str(size) for size in want.shape)
        raise invalid("inputs[0].shape", f"The input 'input' has shape [n, {sizes}], not {list(shape)}.")
    count = 1 if one_row else shape[0]
    _checked_count(count, most)
    numbers = _from_raw(tensor.raw, shape, dtype) if tensor.raw is not None else _from_values(tensor, shape, dtype)
    exact = _as_float32(numbers, tensor.datatype).reshape(count, *want.shape)
    return [Row(row, f"inputs[0].data[{index}]") for index, row in enumerate(exact)]


# --- Elements ---------------------------------------------------------------------------------------------------------


def _from_raw(raw: bytes | memoryview, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    needed = math.prod(shape) * dtype.itemsize
    if len(raw) != needed:
        raise invalid("inputs[0].data", f"The binary data has {len(raw):,} bytes; its shape and type need {needed:,}.")
    return np.frombuffer(raw, dtype=dtype)


def _from_values(tensor: Tensor, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    if isinstance(tensor.values, np.ndarray):
        _require_size(tensor.values.size, shape)
        if dtype.kind in "iu" and dtype.itemsize < tensor.values.dtype.itemsize:
            # Over gRPC small whole numbers come in fields of 32 bits.
            fits = (tensor.values >= np.iinfo(dtype).min) & (tensor.values <= np.iinfo(dtype).max)
            if not fits.all():
                where = indices_of(int(np.argmin(fits)), shape)
                raise invalid(f"inputs[0].data{where}", f"A number does not fit into {tensor.datatype}.")
        return tensor.values
    values = _flat(tensor.values, shape)
    good = {int} if dtype.kind in "iu" else {int, float}
    if not set(map(type, values)) <= good:
        place = next(index for index, value in enumerate(values) if type(value) not in good)
        raise invalid(f"inputs[0].data{indices_of(place, shape)}", f"An element of type {tensor.datatype} is a number.")
    try:
        return np.array(values, dtype=dtype if dtype.kind in "iu" else np.float64)
    except OverflowError as error:
        raise invalid("inputs[0].data", f"A number does not fit into {tensor.datatype}.") from error


def _as_float32(numbers: npt.NDArray[Any], datatype: str) -> npt.NDArray[np.float32]:
    if numbers.dtype.kind in "iu" and numbers.dtype.itemsize > 2:
        exact = (numbers <= _LARGEST_EXACT) & (numbers >= -_LARGEST_EXACT)
        if not exact.all():
            raise invalid(
                f"inputs[0].data[{int(np.argmin(exact))}]",
                f"The model computes in FP32, which holds whole numbers up to {_LARGEST_EXACT:,} exactly; this {datatype} "
                "is larger.",
            )
    # What is too large becomes infinity, and that is refused with its place by the model's own check.
    with np.errstate(over="ignore"):
        return numbers.astype(np.float32, copy=False)


def _flat(values: Any, shape: tuple[int, ...]) -> list[Any]:
    """The elements in a list, whether the caller sent them flat or nested as the shape is; no loop over numbers here."""
    if not isinstance(values, list):
        raise invalid("inputs[0].data", "The data are a list, flat or nested as the shape is.")
    if len(shape) > 1 and set(map(type, values)) == {list}:
        for depth, size in enumerate(shape):
            if depth == 0:
                _require_length([values], size, shape, depth)
                level: list[Any] = values
                continue
            _require_length(level, size, shape, depth)
            level = list(chain.from_iterable(level))
        return level
    _require_size(len(values), shape)
    return values


def _require_length(level: Iterable[Any], size: int, shape: tuple[int, ...], depth: int) -> None:
    for index, item in enumerate(level):
        if not isinstance(item, list) or len(item) != size:
            place = indices_of(index, shape[:depth])
            found = f"{len(item)} values" if isinstance(item, list) else "no list"
            raise invalid(
                f"inputs[0].data{place}", f"The shape {list(shape)} wants {size} values here; there are {found}."
            )


def _require_size(size: int, shape: tuple[int, ...]) -> None:
    needed = math.prod(shape)
    if size != needed:
        raise invalid("inputs[0].data", f"There are {size:,} elements; the shape {list(shape)} needs {needed:,}.")


def words_of(problem: PlatformError) -> str:
    """One line of text for protocols whose errors are no more than that: the place, then what is wrong there."""
    return f"{problem.field}: {problem.detail}" if problem.field else problem.detail
