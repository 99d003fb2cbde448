"""Usage by several things at once, from the daily sums: what charts of a dashboard are drawn from."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, get_args

from django.db.models import Sum

from billing.metering.reports import SUMMED, Grouping, Sums
from billing.models import UsageRollup
from mlplatform.lib.errors import invalid

MAX_DAYS: Final = 366
MAX_ROWS: Final = 2_000


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One combination of what the rows are grouped by; what they are not grouped by is None."""

    day: dt.date | None
    model: str | None
    key: str | None
    api_version: str | None
    operation: str | None
    sums: Sums

    @property
    def calls(self) -> int:
        """Calls that named the model, or paid a fee where it is empty; each call once where rows are not by model."""
        return self.sums.calls if self.model is None else self.sums.model_calls


def read(*, tenant_id: int, first: dt.date, last: dt.date, by: Sequence[Grouping]) -> list[UsageRow]:
    """The tenant's usage from ``first`` to ``last``, both included, grouped by all of ``by`` and ordered by them.

    Raises INVALID_INPUT for a period that is no period, and for more rows than a report has.
    """
    if first > last:
        raise invalid("from", "The first day lies after the last.")
    if (last - first).days >= MAX_DAYS:
        raise invalid("from", f"A report covers at most {MAX_DAYS} days.")
    names = list(dict.fromkeys(by))
    columns = [_column(name) for name in names]
    days = UsageRollup.objects.filter(tenant_id=tenant_id, day__range=(first, last))
    sums = {f"total_{name}": Sum(name) for name in SUMMED}
    if not columns:
        total = days.aggregate(**sums)
        return [_row((), total)] if total["total_calls"] is not None else []
    grouped = list(days.values(*columns).annotate(**sums).order_by(*columns)[: MAX_ROWS + 1])
    if len(grouped) > MAX_ROWS:
        raise invalid("by", f"These are more than {MAX_ROWS:,} rows; ask for fewer days, or group by less.")
    return [_row(names, row) for row in grouped]


def _column(name: Grouping) -> str:
    return "key_uid" if name == "key" else name


def _row(names: Sequence[Grouping], row: dict[str, Any]) -> UsageRow:
    values = {name: row[_column(name)] if name in names else None for name in get_args(Grouping)}
    return UsageRow(**values, sums=Sums(**{name: row[f"total_{name}"] for name in SUMMED}))
