"""Items as vectors: by the live version of one model, through the same predictions that every caller makes."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from billing.admission import Decision
from inference.engine import predict
from inference.registry import versions
from inference.types import TO_LIMIT, CallContext, ModelRef, PredictRequest, PredictResult, TextLength
from mlplatform.lib.errors import PlatformError
from tenants.authentication import Caller

EMBEDDER: Final = "minilm"


@dataclass(frozen=True, slots=True)
class Embedded:
    """A vector as it is stored: little-endian float32, and which model version made it, such as ``minilm@1.0.0``. ``truncated``
    is the length of a text of which only the beginning was read."""

    vector: bytes
    by: str
    truncated: TextLength | None = None


@dataclass(frozen=True, slots=True)
class Embeddings:
    """One for each text, in order; the units of all with the call's fee, and the limits after it (None: nothing was asked)."""

    found: tuple[Embedded, ...]
    units: int
    decision: Decision | None


def text_of(title: str, description: str, categories: Collection[str]) -> str:
    """What of an item is embedded: each of the three on a line of its own, the title first.

    What is beyond the model's limit of tokens is left out: a long description says what the item is at its beginning.
    """
    return "\n".join(part for part in (title, description.strip(), ", ".join(categories)) if part)


def embedder() -> ModelRef:
    """The version that embeds now. Raises NOT_FOUND where none answers."""
    return versions.resolve(EMBEDDER)


def name_of(ref: ModelRef) -> str:
    """How a version is remembered with what it made."""
    return f"{ref.name}@{ref.version}"


def embed(
    caller: Caller, texts: Sequence[str], context: CallContext, *, paths: Sequence[str] = (), field: str = "title"
) -> Embeddings:
    """All texts in one call, or its problem: the first of any text, which ``paths`` and ``field`` name.

    A text that cannot be read is refused before anything is charged. What was computed before a later problem is charged,
    without the fee, and cached, so that the same call again costs only the cached price.
    """
    if not texts:
        return Embeddings((), 0, None)
    named = paths or [""] * len(texts)
    # The one on sale, whatever the tenant calls its own, and the same version for all texts.
    ref = embedder()
    requests = [
        PredictRequest(model=EMBEDDER, input=text, path=path, field=field, truncate=TO_LIMIT, resolved=ref)
        for text, path in zip(texts, named, strict=True)
    ]
    answer = predict.predict_many(caller, requests, context, whole=True)
    return Embeddings(tuple(_embedded(result) for result in answer.results), answer.units, answer.decision)


def matrix(vectors: Sequence[bytes]) -> npt.NDArray[np.float32]:
    """Stored vectors of one model version as float32 [n, dimensions]."""
    return np.frombuffer(b"".join(vectors), dtype="<f4").reshape(len(vectors), -1)


def _embedded(result: PredictResult | PlatformError) -> Embedded:
    if isinstance(result, PlatformError):
        raise result
    assert result.embedding is not None  # noqa: S101 - the model is an encoder: it has no labels
    by = f"{result.model}@{result.model_version}"
    return Embedded(result.embedding.astype("<f4").tobytes(), by, result.truncated)
