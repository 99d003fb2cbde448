"""The report of a rehearsed migration: made from the outcome of each call, kept as JSON, read back as what it is."""

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from inference.deprecations.rehearsals.comparing import Difference, FieldChange
from inference.models.lifecycle import Verdict

TOLERANCE: Final = 0.05
"""How far a score may move before the report calls it a difference."""
_NO_SAMPLES: Final = (
    "No call was replayed: none of the last 30 days was kept whole. Calls are sampled at most once a minute, and "
    "kept whole since your tenant has opted in; make some calls, then rehearse again."
)


@dataclass(frozen=True, slots=True)
class CallOutcome:
    """One replayed call. ``failure`` is (kind, detail, field) of what would refuse it; then nothing else is known.

    ``unsayable`` tells that the old API version has no words for the new answer, so that both cannot be compared.
    """

    failure: tuple[str, str, str] | None = None
    request_changes: tuple[FieldChange, ...] = ()
    answer_changes: tuple[FieldChange, ...] = ()
    differences: tuple[Difference, ...] = ()
    unsayable: bool = False
    old_latency_ms: float | None = None
    new_latency_ms: float | None = None
    old_units: int | None = None
    new_units: int | None = None


@dataclass(frozen=True, slots=True)
class FailureLine:
    """Calls that would be refused for one reason. ``field`` is the part of the call, or empty."""

    kind: str
    detail: str
    field: str
    calls: int


@dataclass(frozen=True, slots=True)
class ChangeLine:
    """A field of the request or the answer that comes, goes or takes another shape, and in how many calls."""

    part: str
    path: str
    change: str
    before: str
    after: str
    calls: int


@dataclass(frozen=True, slots=True)
class DifferenceLine:
    """Answers that disagree at one place: ``what`` is label, score or unsayable; ``largest`` is how far a score moved."""

    what: str
    path: str
    largest: float | None
    example: str
    calls: int


@dataclass(frozen=True, slots=True)
class Report:
    """What a migration would do to a tenant's calls.

    Latencies are medians in milliseconds of both, computed one by one under the same conditions; None where the old
    one does not answer any more. Units are the sums of what the calls would cost, computed and billed.
    """

    verdict: str
    summary: str
    calls: int
    failed: int
    tolerance: float
    failures: tuple[FailureLine, ...]
    changes: tuple[ChangeLine, ...]
    differences: tuple[DifferenceLine, ...]
    old_latency_ms: float | None
    new_latency_ms: float | None
    old_units: int | None
    new_units: int | None

    def as_json(self) -> dict[str, Any]:
        """The form in which it is kept."""
        return asdict(self)


def read(kept: Mapping[str, Any]) -> Report | None:
    """The report that was kept; None where there is none yet."""
    if not kept:
        return None
    return Report(
        **dict(kept)
        | {
            "failures": tuple(FailureLine(**line) for line in kept["failures"]),
            "changes": tuple(ChangeLine(**line) for line in kept["changes"]),
            "differences": tuple(DifferenceLine(**line) for line in kept["differences"]),
        }
    )


def of(outcomes: Sequence[CallOutcome], *, tolerance: float = TOLERANCE) -> Report:
    """The report of these calls: ready when none fails and no label differs."""
    failures = Counter(one.failure for one in outcomes if one.failure is not None)
    lines = _differences(outcomes, tolerance)
    bad = {line.what for line in lines} & {"label", "unsayable"}
    ready = bool(outcomes) and not failures and not bad
    return Report(
        verdict=(Verdict.READY if ready else Verdict.NEEDS_WORK).value,
        summary=_summary(len(outcomes), failures.total(), lines),
        calls=len(outcomes),
        failed=failures.total(),
        tolerance=tolerance,
        failures=tuple(
            FailureLine(kind, detail, field, calls) for (kind, detail, field), calls in failures.most_common()
        ),
        changes=(
            *_changes("request", (one.request_changes for one in outcomes)),
            *_changes("answer", (one.answer_changes for one in outcomes)),
        ),
        differences=lines,
        old_latency_ms=_median([one.old_latency_ms for one in outcomes]),
        new_latency_ms=_median([one.new_latency_ms for one in outcomes]),
        old_units=_sum([one.old_units for one in outcomes]),
        new_units=_sum([one.new_units for one in outcomes]),
    )


def _changes(part: str, calls: Iterable[tuple[FieldChange, ...]]) -> list[ChangeLine]:
    counted = Counter(change for changes in calls for change in changes)
    return [
        ChangeLine(part, change.path, change.change, change.before, change.after, number)
        for change, number in counted.items()
    ]


def _differences(outcomes: Sequence[CallOutcome], tolerance: float) -> tuple[DifferenceLine, ...]:
    found: dict[tuple[str, str], list[Difference]] = {}
    for one in outcomes:
        for difference in one.differences:
            if difference.what == "label" or difference.by > tolerance:
                found.setdefault((difference.what, difference.path), []).append(difference)
    lines = []
    for (what, path), group in sorted(found.items()):
        largest = round(max(one.by for one in group), 6) if what == "score" else None
        lines.append(DifferenceLine(what, path, largest, group[0].example, len(group)))
    unsayable = sum(one.unsayable for one in outcomes)
    if unsayable:
        lines.append(
            DifferenceLine("unsayable", "", None, "the old API version has no words for the answer", unsayable)
        )
    return tuple(lines)


def _summary(calls: int, failed: int, lines: Sequence[DifferenceLine]) -> str:
    if not calls:
        return _NO_SAMPLES
    labels = sum(line.calls for line in lines if line.what == "label")
    scores = sum(line.calls for line in lines if line.what == "score")
    unsayable = sum(line.calls for line in lines if line.what == "unsayable")
    parts = [
        f"{failed} would fail" if failed else "",
        f"in {labels} {'places' if labels != 1 else 'place'} the label differs" if labels else "",
        f"{unsayable} cannot be compared" if unsayable else "",
        f"in {scores} {'places' if scores != 1 else 'place'} a score moves beyond the tolerance" if scores else "",
    ]
    found = "; ".join(part for part in parts if part)
    replayed = f"{calls} {'calls were' if calls != 1 else 'call was'} replayed"
    return f"{replayed}: {found}." if found else f"{replayed}, and each gets the answer that it got."


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(statistics.median(known), 3) if known else None


def _sum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
