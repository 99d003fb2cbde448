"""The recommender's inputs: a user's taste in its first rows, candidates in the others; zero rows say that there is nothing."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from inference.recommendations.candidates import Row, Taste
from inference.recommendations.embedding import embedder, matrix, name_of
from inference.registry import versions
from inference.types import ModelRef
from mlplatform.lib.errors import unavailable

RECOMMENDER: Final = "recommender"

Tensor = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Form:
    """What the live recommender takes: ``seeds`` rows of taste, then ``candidates`` rows, each of ``dimensions`` numbers,
    all of them embeddings by the version ``embedded_by``.
    """

    ref: ModelRef
    embedded_by: str
    seeds: int
    candidates: int
    dimensions: int


def present() -> Form:
    """The live one. Raises NOT_FOUND where a model is not there, UNAVAILABLE where the two do not fit each other."""
    ref, encoder = versions.resolve(RECOMMENDER), embedder()
    rows, dimensions = ref.input_schema["shape"]
    if dimensions != encoder.outputs:
        raise unavailable(
            f"{name_of(ref)} was not made for embeddings of {name_of(encoder)}; one that was must go live first.",
            retry_after_s=60,
        )
    return Form(ref, name_of(encoder), rows - ref.outputs, ref.outputs, dimensions)


def inputs(taste: Taste, rows: Mapping[int, Row], form: Form) -> Iterator[tuple[list[Row], Tensor]]:
    """The candidates of each input, and the input; none where nothing tells the taste. Rows without a vector are left out."""
    seeds = _vectors(rows, taste.seeds)
    if not seeds:
        return
    liked = matrix([vector for _, vector in seeds])
    candidates = _vectors(rows, taste.candidates)
    for start in range(0, len(candidates), form.candidates):
        part = candidates[start : start + form.candidates]
        tensor = np.zeros((form.seeds + form.candidates, form.dimensions), dtype=np.float32)
        tensor[: len(liked)] = liked
        tensor[form.seeds : form.seeds + len(part)] = matrix([vector for _, vector in part])
        yield [row for row, _ in part], tensor


def _vectors(rows: Mapping[int, Row], pks: tuple[int, ...]) -> list[tuple[Row, bytes]]:
    found = (rows.get(pk) for pk in pks)  # an item may be removed between two queries
    return [(row, row.vector) for row in found if row is not None and row.vector is not None]
