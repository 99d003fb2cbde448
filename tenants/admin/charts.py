"""Bar charts that the server draws: no script, colours by class, so that both schemes follow. A table stands beside each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from django.template.loader import render_to_string
from django.utils.safestring import SafeString

_STEPS: Final = (1, 2, 3, 4, 6, 8, 10)


@dataclass(frozen=True, slots=True)
class Series:
    """One kind of value in every column; ``tone`` is the class that colours it."""

    name: str
    tone: str


@dataclass(frozen=True, slots=True)
class Column:
    """One bar: its values in the order of the series. ``short`` stands below it, where there is room; ``link`` opens it."""

    label: str
    short: str
    values: tuple[int, ...]
    link: str = ""


def stacked(columns: Sequence[Column], series: Sequence[Series], *, label: str) -> SafeString:
    """The columns as stacked bars with a legend of what occurs; ``label`` says to screen readers what it is."""
    top = _top(max((sum(column.values) for column in columns), default=0))
    seen = [one for position, one in enumerate(series) if any(column.values[position] for column in columns)]
    return SafeString(
        render_to_string(
            "admin/bars.html",
            {
                "label": label,
                "summary": _summary(columns),
                "top": f"{top:,}",
                "middle": f"{top // 2:,}" if top > 1 else "",
                "legend": seen if len(series) > 1 else [],
                "bars": [_bar(column, series, top) for column in columns],
                "every": max(1, -(-len(columns) // 6)),
            },
        )
    )


def _summary(columns: Sequence[Column]) -> str:
    """What the picture says, for those who cannot see it."""
    if not any(sum(column.values) for column in columns):
        return ": none."
    highest = max(columns, key=lambda column: sum(column.values))
    return (
        f": {sum(sum(column.values) for column in columns):,} in all, most {highest.label} ({sum(highest.values):,})."
    )


def _bar(column: Column, series: Sequence[Series], top: int) -> dict[str, object]:
    parts = [(one, value) for one, value in zip(series, column.values, strict=True) if value]
    told = ", ".join(f"{value:,} {one.name}" for one, value in parts) or f"0 {series[0].name}"
    return {
        "column": column,
        "title": f"{column.label}: {told}",
        "parts": [(one.tone, f"{100 * value / top:.2f}") for one, value in parts],
    }


def _top(most: int) -> int:
    """The next round number that is not below the highest bar."""
    power = 1
    while power * 10 < most:
        power *= 10
    return next(step * power for step in _STEPS if step * power >= most)
