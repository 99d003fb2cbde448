"""What a tenant used, from the daily sums in SQL, grouped by one thing: what reports as JSON and CSV are made of."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final, Literal

from django.db.models import Sum

from billing.models import UsageRollup

NO_MODEL: Final = "(call fee)"
Grouping = Literal["day", "model", "key", "api_version", "operation"]


@dataclass(frozen=True, slots=True)
class Sums:
    """The sums of daily usage over any rows; see :class:`UsageRollup`. All of them add up."""

    calls: int
    model_calls: int
    inputs: int
    cached_inputs: int
    units: int
    saved_units: int

    @classmethod
    def of(cls, parts: Sequence["Sums"]) -> "Sums":
        return cls(**{name: sum(getattr(part, name) for part in parts) for name in SUMMED})


SUMMED: Final = tuple(field.name for field in fields(Sums))


@dataclass(frozen=True, slots=True)
class UsageLine:
    """One line of a usage report; ``value`` is the day, model, key or other thing that it is grouped by.

    Grouped by model, ``calls`` are those that named it, so a call of several models stands in several lines; and the line
    of an empty model has the calls that paid a fee, and its units. Else each call stands in one line.
    """

    value: str
    calls: int
    inputs: int
    cached_inputs: int
    units: int
    saved_units: int


@dataclass(frozen=True, slots=True)
class UsageReport:
    """The lines of a report, and their sum with each call counted once, whatever the lines are grouped by."""

    lines: tuple[UsageLine, ...]
    total: UsageLine


def named(model: str) -> str:
    """The model as people read it, or what stands in its place for units of no model: fees of calls and points of GraphQL."""
    return model or NO_MODEL


def hit_ratio(inputs: int, cached_inputs: int) -> float | None:
    """The share of inputs that a cache answered, 0 to 1, to four digits; None without inputs."""
    return round(cached_inputs / inputs, 4) if inputs else None


def summary(*, tenant_id: int, first: dt.date, last: dt.date, by: Grouping) -> UsageReport:
    """The tenant's usage from ``first`` to ``last``, both included, grouped and ordered by what it is grouped by."""
    column = "key_uid" if by == "key" else by
    rows = (
        UsageRollup.objects.filter(tenant_id=tenant_id, day__range=(first, last))
        .values(column)
        .annotate(**{f"total_{name}": Sum(name) for name in SUMMED})
        .order_by(column)
    )
    sums = [(str(row[column]), Sums(**{name: row[f"total_{name}"] for name in SUMMED})) for row in rows]
    lines = [_line(value, found, of_model=by == "model") for value, found in sums]
    return UsageReport(
        # Calls of several inputs without a fee belong to no model and have no units: nothing to tell of.
        lines=tuple(line for line in lines if line.value or line.calls or line.units),
        total=_line("", Sums.of([found for _, found in sums]), of_model=False),
    )


def _line(value: str, found: Sums, *, of_model: bool) -> UsageLine:
    calls = found.model_calls if of_model else found.calls
    return UsageLine(value, calls, found.inputs, found.cached_inputs, found.units, found.saved_units)
