"""The report of a rehearsed migration: made from the outcome of each call, kept as JSON, read back as what it is."""

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from inference.deprecations.rehearsals.comparing import Difference, FieldChange
from inference.models.lifecycle import Verdict
from tenants.http.answers import Answer, Count
from tenants.http.json_schemas import one_of

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


class RehearsalFailure(Answer, frozen=True):
    """Calls that would be refused for one reason; `field` is the part of the call, or empty."""

    kind: str
    detail: str
    field: str
    calls: Count


class RehearsalChange(Answer, frozen=True):
    """A field of the request or the answer that comes, goes or takes another shape, and in how many calls."""

    part: Annotated[str, one_of(["request", "answer"])]
    path: Annotated[str, Meta(examples=["predictions[].label"])]
    change: Annotated[str, one_of(["added", "removed", "changed"])]
    before: Annotated[str, Meta(description="The shape, such as `text`.")]
    after: str
    calls: Count


class RehearsalDifference(Answer, frozen=True):
    """Answers that disagree at one place."""

    what: Annotated[str, one_of(["label", "score", "unsayable"])]
    path: str
    largest: Annotated[float | None, Meta(description="How far a score moved at most.")]
    example: str
    calls: Count


class RehearsalReport(Answer, frozen=True):
    """What a migration would do to a tenant's calls, computed old and new one by one under the same conditions."""

    verdict: Annotated[str, one_of(Verdict.values)]
    summary: str
    calls: Annotated[Count, Meta(description="Sampled calls that were replayed.")]
    failed: Count
    tolerance: Annotated[float, Meta(description="How far a score may move before it counts.")]
    failures: tuple[RehearsalFailure, ...]
    changes: tuple[RehearsalChange, ...]
    differences: tuple[RehearsalDifference, ...]
    old_latency_ms: Annotated[float | None, Meta(description="Median; null where the old one does not answer.")]
    new_latency_ms: float | None
    old_units: Annotated[Count | None, Meta(description="What the calls would cost.")]
    new_units: Count | None

    def as_json(self) -> dict[str, Any]:
        """The form in which it is kept."""
        kept: dict[str, Any] = msgspec.to_builtins(self)
        return kept


def read(kept: Mapping[str, Any]) -> RehearsalReport | None:
    """The report that was kept; None where there is none yet."""
    return msgspec.convert(kept, RehearsalReport) if kept else None


def of(outcomes: Sequence[CallOutcome], *, tolerance: float = TOLERANCE) -> RehearsalReport:
    """The report of these calls: ready when none fails and no label differs."""
    failures = Counter(one.failure for one in outcomes if one.failure is not None)
    lines = _differences(outcomes, tolerance)
    bad = {line.what for line in lines} & {"label", "unsayable"}
    ready = bool(outcomes) and not failures and not bad
    return RehearsalReport(
        verdict=(Verdict.READY if ready else Verdict.NEEDS_WORK).value,
        summary=_summary(len(outcomes), failures.total(), lines),
        calls=len(outcomes),
        failed=failures.total(),
        tolerance=tolerance,
        failures=tuple(
            RehearsalFailure(kind, detail, field, calls) for (kind, detail, field), calls in failures.most_common()
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


def _changes(part: str, calls: Iterable[tuple[FieldChange, ...]]) -> list[RehearsalChange]:
    counted = Counter(change for changes in calls for change in changes)
    return [
        RehearsalChange(part, change.path, change.change, change.before, change.after, number)
        for change, number in counted.items()
    ]


def _differences(outcomes: Sequence[CallOutcome], tolerance: float) -> tuple[RehearsalDifference, ...]:
    found: dict[tuple[str, str], list[Difference]] = {}
    for one in outcomes:
        for difference in one.differences:
            if difference.what == "label" or difference.by > tolerance:
                found.setdefault((difference.what, difference.path), []).append(difference)
    lines = []
    for (what, path), group in sorted(found.items()):
        largest = round(max(one.by for one in group), 6) if what == "score" else None
        lines.append(RehearsalDifference(what, path, largest, group[0].example, len(group)))
    unsayable = sum(one.unsayable for one in outcomes)
    if unsayable:
        lines.append(
            RehearsalDifference("unsayable", "", None, "the old API version has no words for the answer", unsayable)
        )
    return tuple(lines)


def _summary(calls: int, failed: int, lines: Sequence[RehearsalDifference]) -> str:
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
