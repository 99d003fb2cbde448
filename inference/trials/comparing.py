"""How much two versions differ on one input: the answer that was given, and the one that a shadow computed."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from inference.types import ModelRef

_SAME_DIRECTION: Final = 0.99
_SAME_SCORE: Final = 0.05


@dataclass(frozen=True, slots=True)
class Comparison:
    """``agreed``: a customer would have read the same. ``difference``: 0 for equal answers, 1 for what has nothing in common.

    Of classifications the same best label agrees, and the difference is the largest of any label's score; of embeddings the
    cosine of at least 0.99 agrees, and the difference is what it lacks to 1; of scores the same best candidate agrees, or
    for a single one a score within 0.05.
    """

    agreed: bool
    difference: float


def compare(live: ModelRef, given: bytes, candidate: ModelRef, computed: bytes) -> Comparison:
    """Both answers are float32 bytes, in the order of their version's labels."""
    ours, theirs = np.frombuffer(computed, dtype="<f4"), np.frombuffer(given, dtype="<f4")
    if live.labels and candidate.labels:
        return _of_labels(dict(zip(live.labels, theirs, strict=True)), dict(zip(candidate.labels, ours, strict=True)))
    if live.labels or candidate.labels or ours.shape != theirs.shape or not ours.size:
        return Comparison(False, 1.0)
    if live.vector_name == "embedding":
        lengths = float(np.linalg.norm(ours) * np.linalg.norm(theirs))
        cosine = float(ours @ theirs) / lengths if lengths else float(bool(np.array_equal(ours, theirs)))
        return Comparison(cosine >= _SAME_DIRECTION, _bounded(1 - cosine))
    difference = float(np.abs(ours - theirs).max())
    agreed = int(ours.argmax()) == int(theirs.argmax()) if ours.size > 1 else difference <= _SAME_SCORE
    return Comparison(agreed, _bounded(difference))


def _of_labels(given: dict[str, np.float32], computed: dict[str, np.float32]) -> Comparison:
    best = max(given, key=given.__getitem__), max(computed, key=computed.__getitem__)
    names = given.keys() | computed.keys()
    zero = np.float32(0)
    difference = max(abs(float(given.get(name, zero)) - float(computed.get(name, zero))) for name in names)
    return Comparison(best[0] == best[1], _bounded(difference))


def _bounded(difference: float) -> float:
    """NaN, which a broken candidate may compute, is as different as can be."""
    return min(1.0, max(0.0, difference)) if difference == difference else 1.0
