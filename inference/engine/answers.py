"""What a call gets in the end: results or problems in order, the units of all, and the limits after it."""

from array import array
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from billing.admission import Decision
from inference.engine.preparing import Prepared
from inference.types import LabelScore, PredictResult
from mlplatform.lib import clock
from mlplatform.lib.errors import PlatformError


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call gets: a result or a problem for each input in order, the units of all, and the limits after it.

    ``decision`` is None when no input was good enough to be admitted.
    """

    results: tuple[PredictResult | PlatformError, ...]
    units: int
    decision: Decision | None


def single(answer: Answer) -> PredictResult:
    """The result of a call of one input. Raises its problem."""
    result = answer.results[0]
    if isinstance(result, PlatformError):
        raise result
    return result


def result_of(item: Prepared, scores: bytes, started: float) -> PredictResult:
    """The result of an answered input; ``started`` is when its call began, on the monotonic clock."""
    predictions: tuple[LabelScore, ...] | None = None
    embedding: npt.NDArray[np.float32] | None = None
    if item.ref.is_embedding:
        embedding = np.frombuffer(scores, dtype=np.float32)
    else:
        predictions = ranked(scores, item.ref.labels, item.request.top_k)
    return PredictResult(
        id=item.hold_id,
        model=item.ref.name,
        model_version=item.ref.version,
        predictions=predictions,
        embedding=embedding,
        units=item.units,
        cached=item.cached,
        age_s=item.entry.age_s() if item.entry else 0,
        latency_ms=round((clock.monotonic() - started) * 1000, 3),
        deprecation=item.deprecation,
        vector_name=item.ref.vector_name,
        truncated=item.entry.length if item.entry else item.length,
    )


@lru_cache(maxsize=4096)
def ranked(scores: bytes, labels: tuple[str, ...], top_k: int | None) -> tuple[LabelScore, ...]:
    """Labels with their scores, best first. Kept, because what is cached is asked for again."""
    ranked = sorted(zip(array("f", scores), labels, strict=True), key=lambda pair: -pair[0])[:top_k]
    return tuple([LabelScore(label, score) for score, label in ranked])
