"""The contract between a model version and its runtime, as checks on inputs and results."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from inference.runtimes.protocol import ContractError, Encoded, Input, RuntimeSpec
from inference.types import Precision

BATCH_TOLERANCE: Final[Mapping[str, float]] = {
    Precision.FLOAT32: 1e-4,
    Precision.FLOAT16: 5e-3,
    Precision.BFLOAT16: 3e-2,
    Precision.INT8: 2e-2,
}
"""How far an answer may move with the company it is computed in, by precision: batched kernels add in another order."""

_TEXTS: Final = (
    "A rather long sentence, which praises the quick delivery of a blue lamp.",
    "Bad.",
    "It works well.",
    "No!",
)
_SAMPLES: Final = 4
_FEW: Final = 64


def check_inputs(spec: RuntimeSpec, inputs: Sequence[Input]) -> None:
    """Raise ContractError for the first input that is not of the declared kind, type and shape, or not finite."""
    schema = spec.input_schema
    for row, value in enumerate(inputs):
        problem = _problem(schema, value)
        if problem:
            raise ContractError(f"{spec.name}@{spec.version}: input {row} {problem}.")


def result_problem(result: object, *, rows: int, columns: int) -> str | None:
    """Return what is wrong with the result of a batch as the rest of a sentence, or None."""
    if not isinstance(result, np.ndarray):
        return f"returned a {type(result).__name__} instead of an array"
    if result.dtype != np.float32:
        return f"returned {result.dtype} instead of float32"
    if result.shape != (rows, columns):
        return f"returned the shape {result.shape} instead of {(rows, columns)}"
    # Of a few numbers by themselves: what numpy does around two of them takes 50 µs after a forward pass, when it is cold.
    is_finite = all(map(math.isfinite, result.ravel().tolist())) if result.size <= _FEW else np.isfinite(result).all()
    return None if is_finite else "returned numbers that are not finite"


def samples(spec: RuntimeSpec) -> list[Input]:
    """Return a few inputs of the declared kind that differ in content and in length, in no sorted order."""
    schema = spec.input_schema
    if schema["kind"] == "text":
        return list(_TEXTS)
    if schema["kind"] == "pair":
        return list(zip(_TEXTS, reversed(_TEXTS), strict=True))
    generator = np.random.default_rng(0)
    shape = shape_of(schema)
    if schema["kind"] == "image":
        return [generator.integers(0, 256, shape, dtype=np.uint8) for _ in range(_SAMPLES)]
    low = float(schema.get("minimum", 0.0))
    high = float(schema.get("maximum", low + 1.0))
    return [generator.uniform(low, high, shape).astype(np.float32) for _ in range(_SAMPLES)]


def shape_of(schema: Mapping[str, Any]) -> tuple[int, ...]:
    """The shape of one input: of a tensor as declared, of an image [height, width, channels]."""
    if schema["kind"] == "image":
        return schema["height"], schema["width"], schema["channels"]
    return tuple(schema["shape"])


def _problem(schema: Mapping[str, Any], value: Input) -> str | None:
    if schema["kind"] == "text":
        return None if isinstance(value, str | Encoded) else f"is a {type(value).__name__} instead of a text"
    if schema["kind"] == "pair":
        return None if isinstance(value, tuple | Encoded) else f"is a {type(value).__name__} instead of two texts"
    if schema["kind"] == "image":
        return _array_problem(value, shape_of(schema), np.uint8)
    return _array_problem(value, shape_of(schema), np.float32)


def _array_problem(value: Input, shape: tuple[int, ...], dtype: type[np.generic]) -> str | None:
    if not isinstance(value, np.ndarray):
        return f"is a {type(value).__name__} instead of an array"
    if value.dtype != dtype:
        return f"is {value.dtype} instead of {dtype.__name__}"
    if value.shape != shape:
        return f"has the shape {value.shape} instead of {shape}"
    return None if np.isfinite(value).all() else "holds numbers that are not finite"
