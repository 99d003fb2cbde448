"""The contract between a model version and its runtime, as checks on inputs and results."""

from collections.abc import Sequence

import numpy as np

from inference.runtimes.protocol import Array, ContractError, Input, RuntimeSpec

BATCH_TOLERANCE = 1e-4
"""How far an answer may move with the company it is computed in: batched kernels add in another order."""


def check_inputs(spec: RuntimeSpec, inputs: Sequence[Input]) -> None:
    """Raise ContractError for the first input that is not of the declared kind, type and shape, or not finite."""
    kind = spec.input_schema["kind"]
    for row, value in enumerate(inputs):
        problem = _text_problem(value) if kind == "text" else _tensor_problem(value, tuple(spec.input_schema["shape"]))
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
    if not np.isfinite(result).all():
        return "returned numbers that are not finite"
    return None


def samples(spec: RuntimeSpec) -> list[Input]:
    """Return a few inputs of the declared kind that differ in content and in length, in no sorted order."""
    if spec.input_schema["kind"] == "text":
        return [
            "A rather long sentence, which praises the quick delivery of a blue lamp.",
            "Bad.",
            "It works well.",
            "No!",
        ]
    low = float(spec.input_schema.get("minimum", 0.0))
    high = float(spec.input_schema.get("maximum", low + 1.0))
    generator = np.random.default_rng(0)
    shape = tuple(spec.input_schema["shape"])
    return [generator.uniform(low, high, shape).astype(np.float32) for _ in range(4)]


def _text_problem(value: Input) -> str | None:
    return None if isinstance(value, str) else f"is a {type(value).__name__} instead of a text"


def _tensor_problem(value: Input | Array, shape: tuple[int, ...]) -> str | None:
    if not isinstance(value, np.ndarray):
        return f"is a {type(value).__name__} instead of an array"
    if value.dtype != np.float32:
        return f"is {value.dtype} instead of float32"
    if value.shape != shape:
        return f"has the shape {value.shape} instead of {shape}"
    return None if np.isfinite(value).all() else "holds numbers that are not finite"
