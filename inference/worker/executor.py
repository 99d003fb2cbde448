"""One batch through a model: decoded, computed, and if that fails halved until the input that fails is alone."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from prometheus_client import Counter, Histogram

from inference.batching.messages import ItemMessage
from inference.isolation.isolated import LimitBroken
from inference.runtimes import inputs as wire
from inference.runtimes.loading import CheckedRuntime
from inference.runtimes.protocol import Array, Input
from inference.types import TextLength, metric_label
from mlplatform.lib import clock

logger = logging.getLogger(__name__)

_HOPELESS: Final = 8
"""So many inputs that fail alone, of every tenant in the batch one, with none that succeeds, and the model itself is broken: the
rest is not tried. Of every tenant, or one with eight bad inputs could have its neighbours refused."""
_MAX_REASON: Final = 300
_WIRE: Final = np.dtype("<f4")

_inputs = Counter("mlplatform_worker_inputs_total", "Inputs that workers computed.", ["model"])
_forward_seconds = Histogram("mlplatform_worker_forward_seconds", "The model's own time for a batch.", ["model"])
_poisoned = Counter("mlplatform_worker_inputs_failed_total", "Inputs on which a model failed.", ["model"])
_too_long = Counter(
    "mlplatform_worker_inputs_too_long_total",
    "Inputs refused because they have more tokens than the model reads.",
    ["model"],
)
_splits = Counter(
    "mlplatform_worker_batches_split_total", "Batches that failed and were computed in halves.", ["model"]
)


@dataclass(slots=True)
class BatchOutcome:
    """Scores of each input as float32 bytes, or None with its problem; ``compute_s`` is the model's own time.

    ``lengths`` are those of inputs that were cut, and of those that are refused instead: they have neither scores nor a
    problem, for nothing is wrong with them or with the model.
    ``error`` says why the model itself is broken, so that no input is to blame.
    """

    results: list[bytes | None]
    problems: dict[int, str] = field(default_factory=dict)
    lengths: dict[int, TextLength] = field(default_factory=dict)
    compute_s: float = 0.0
    error: str = ""
    limit_broken: str = ""
    """How a tenant's model took more for a batch than it may; its inputs failed with it."""
    refusal: str = ""
    """Why the model may not be loaded, in words for its owner's callers."""


def failed(items: Sequence[ItemMessage], failure: Exception) -> BatchOutcome:
    """The outcome when no input could be tried, such as when the model does not load."""
    return BatchOutcome([None] * len(items), dict.fromkeys(range(len(items)), reason(failure)), error=reason(failure))


def reason(failure: Exception) -> str:
    """What is told of a failure, in a line."""
    return f"{type(failure).__name__}: {failure}"[:_MAX_REASON]


def compute(runtime: CheckedRuntime, items: Sequence[ItemMessage]) -> BatchOutcome:
    """The answers to ``items``, in order. One bad input fails alone: its neighbours may be other customers."""
    name = runtime.spec.name
    outcome = BatchOutcome([None] * len(items))
    places: list[int] = []
    decoded: list[Input] = []
    for place, item in enumerate(items):
        try:
            decoded.append(wire.decode(item.payload))
            places.append(place)
        except Exception as failure:
            logger.exception("an input of %s cannot be read", name)
            outcome.problems[place] = reason(failure)
    began = clock.monotonic()
    ready = _Ready()
    _read(runtime, decoded, places, items, ready)
    outcome.lengths, outcome.limit_broken = ready.lengths, ready.limit_broken
    _run(runtime, ready.inputs, ready.places, outcome, items)
    # Only now: what cannot be read says nothing of what can, and must not have it given up.
    outcome.problems |= ready.problems
    outcome.error = _last_word(outcome, items)
    outcome.compute_s = clock.monotonic() - began
    return outcome


def count(runtime: CheckedRuntime, outcome: BatchOutcome) -> None:
    """Have the metrics tell of what :func:`compute` gave; for after the reply, because no caller waits for them."""
    label = _label(runtime)
    _forward_seconds.labels(label).observe(outcome.compute_s)
    refused = sum(outcome.results[place] is None for place in outcome.lengths)
    _inputs.labels(label).inc(len(outcome.results) - len(outcome.problems) - refused)
    if refused:
        _too_long.labels(label).inc(refused)
    if outcome.problems:
        _poisoned.labels(label).inc(len(outcome.problems))


@dataclass(slots=True)
class _Ready:
    """What of a batch can be run, and the places of it; the lengths of texts that were cut or are too long, and problems."""

    inputs: list[Input] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    lengths: dict[int, TextLength] = field(default_factory=dict)
    problems: dict[int, str] = field(default_factory=dict)
    limit_broken: str = ""


def _read(
    runtime: CheckedRuntime,
    decoded: Sequence[Input],
    places: Sequence[int],
    items: Sequence[ItemMessage],
    ready: _Ready,
) -> None:
    """Have the texts' tokens made, all together, else each by itself."""
    try:
        read = runtime.read(decoded, [items[place].truncate for place in places])
    except LimitBroken as failure:
        ready.limit_broken = _broken(runtime, failure, places, ready.problems)
        return
    except Exception as failure:
        if len(decoded) == 1:
            logger.exception("%s cannot read an input", runtime.spec.name)
            ready.problems[places[0]] = reason(failure)
            return
        for one, place in zip(decoded, places, strict=True):
            _read(runtime, [one], [place], items, ready)
        return
    for found, place in zip(read, places, strict=True):
        if found.length is not None:
            ready.lengths[place] = found.length
        if found.value is not None:
            ready.inputs.append(found.value)
            ready.places.append(place)


def _run(
    runtime: CheckedRuntime,
    decoded: Sequence[Input],
    places: Sequence[int],
    outcome: BatchOutcome,
    items: Sequence[ItemMessage],
) -> None:
    """Compute these inputs together, else each half by itself."""
    if not decoded:
        return
    last = _last_word(outcome, items)
    if last:
        outcome.problems.update(dict.fromkeys(places, last))
        return
    try:
        rows: Array = runtime.run(decoded)
    except LimitBroken as failure:
        outcome.limit_broken = _broken(runtime, failure, places, outcome.problems)
        return
    except Exception as failure:
        if len(decoded) == 1:
            logger.exception("%s failed on an input", runtime.spec.name)
            outcome.problems[places[0]] = reason(failure)
            return
        logger.warning("%s failed on %d inputs together: %s", runtime.spec.name, len(decoded), reason(failure))
        _splits.labels(_label(runtime)).inc()
        middle = len(decoded) // 2
        _run(runtime, decoded[:middle], places[:middle], outcome, items)
        _run(runtime, decoded[middle:], places[middle:], outcome, items)
        return
    scores = rows.tobytes() if rows.dtype == _WIRE else rows.astype(_WIRE).tobytes()
    size = len(scores) // len(places)
    for at, place in enumerate(places):
        outcome.results[place] = scores[at * size : (at + 1) * size]


def _broken(runtime: CheckedRuntime, failure: LimitBroken, places: Sequence[int], problems: dict[int, str]) -> str:
    """All these inputs fail, and are not tried in halves, which would take as long: they are all of the model's owner."""
    logger.warning("%s broke a limit with %d inputs: %s", runtime.spec.name, len(places), failure)
    problems.update(dict.fromkeys(places, reason(failure)))
    return str(failure)


def _label(runtime: CheckedRuntime) -> str:
    return metric_label(runtime.spec.name, private=runtime.spec.private)


def _last_word(outcome: BatchOutcome, items: Sequence[ItemMessage]) -> str:
    """The reason with which the rest is given up; empty while there is hope."""
    if len(outcome.problems) < _HOPELESS or any(result is not None for result in outcome.results):
        return ""
    if {items[place].tenant_id for place in outcome.problems} != {item.tenant_id for item in items}:
        return ""
    return next(reversed(outcome.problems.values()))
