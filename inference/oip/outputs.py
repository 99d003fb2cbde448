"""What a model answers, as tensors of the Open Inference Protocol.

A classification gives ``labels`` (BYTES) and ``scores`` (FP32), both of shape ``[n, k]`` and best first, where ``k`` is
the number of labels or the parameter ``top_k``. A vector is ``embedding`` (FP32, ``[n, d]``), or ``scores`` where a model
without labels gives one for each candidate.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from inference.oip.tensors import BYTES, FP32
from inference.types import ModelRef, PredictResult
from mlplatform.lib.errors import invalid

LABELS: Final = "labels"
SCORES: Final = "scores"


@dataclass(frozen=True, slots=True)
class Wanted:
    """An output that the call asks for. ``binary`` is None where the call says nothing of its form.

    ``classes`` is that of the classification extension: the best so many as text ``score:index:label``; 0 for none.
    """

    name: str
    binary: bool | None = None
    classes: int = 0


@dataclass(frozen=True, slots=True)
class Output:
    """A tensor of the answer: text in a list, or the model's own float32 in an array of its shape.

    ``rounded`` is what JSON says in place of them, where that is not the same.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: "list[str] | npt.NDArray[np.float32]"
    binary: bool
    rounded: "npt.NDArray[np.float32] | None" = None

    def raw(self) -> bytes:
        """Little-endian and row-major; elements of BYTES have their length before them."""
        if isinstance(self.values, list):
            encoded = [text.encode() for text in self.values]
            return b"".join(part for text in encoded for part in (struct.pack("<I", len(text)), text))
        return np.ascontiguousarray(self.values, dtype="<f4").tobytes()

    def flat(self) -> "list[str] | npt.NDArray[np.float32]":
        """The elements in row-major order, as JSON says them."""
        values = self.values if self.rounded is None else self.rounded
        return values if isinstance(values, list) else values.reshape(-1)


def names(ref: ModelRef) -> tuple[str, ...]:
    """The outputs of a model, in the order in which they are given."""
    return (ref.vector_name,) if ref.is_embedding else (LABELS, SCORES)


def check(wanted: Sequence[Wanted], ref: ModelRef) -> None:
    """Raises INVALID_INPUT for an output that the model does not have; to be called before anything is computed."""
    known, seen = names(ref), set()
    for index, one in enumerate(wanted):
        if one.name not in known:
            raise invalid(
                f"outputs[{index}].name", f"{ref.name} has no output {one.name[:64]!r}; it gives {', '.join(known)}."
            )
        if one.name in seen:
            raise invalid(f"outputs[{index}].name", f"The output {one.name!r} is asked for twice.")
        seen.add(one.name)
        if one.classes and (one.name != SCORES or ref.is_embedding):
            raise invalid(
                f"outputs[{index}].parameters.classification",
                f"Only the output {SCORES!r} of a model with labels can be classified.",
            )


def of(results: Sequence[PredictResult], ref: ModelRef, wanted: Sequence[Wanted], *, binary: bool) -> list[Output]:
    """The outputs that the call wants, all where it names none. ``binary`` is the form where an output has no own."""
    asked = wanted or [Wanted(name) for name in names(ref)]
    return [_output(one, results, ref, binary if one.binary is None else one.binary) for one in asked]


def _output(wanted: Wanted, results: Sequence[PredictResult], ref: ModelRef, binary: bool) -> Output:
    if ref.is_embedding:
        vectors: Any = np.stack([result.embedding for result in results])  # type: ignore[misc]
        return Output(wanted.name, FP32, vectors.shape, vectors, binary)
    ranked = [result.predictions or () for result in results]
    shape = (len(ranked), len(ranked[0]))
    if wanted.classes:
        index_of = {label: index for index, label in enumerate(ref.labels)}
        texts = [
            f"{one.rounded:f}:{index_of.get(one.label, -1)}:{one.label}"
            for row in ranked
            for one in row[: wanted.classes]
        ]
        return Output(SCORES, BYTES, (len(ranked), len(ranked[0][: wanted.classes])), texts, binary)
    if wanted.name == LABELS:
        return Output(LABELS, BYTES, shape, [one.label for row in ranked for one in row], binary)
    scores = np.array([[one.score for one in row] for row in ranked], dtype=np.float32)
    rounded = np.array([[one.rounded for one in row] for row in ranked], dtype=np.float32)
    return Output(SCORES, FP32, shape, scores, binary, rounded)
