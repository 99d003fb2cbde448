"""A small line of numbers over days, as points of an inline SVG and as a sentence."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mlplatform.lib import dates

HEIGHT: Final = 28
_MARGIN: Final = 2


@dataclass(frozen=True, slots=True)
class Sparkline:
    """``line`` and ``area`` are SVG points in a box of ``width`` by 28; ``text`` says the same in words."""

    width: int
    height: int
    line: str
    area: str
    end_x: float
    end_y: float
    text: str


def sparkline(values: Sequence[int], *, days: Sequence[dt.date], width: int = 112) -> Sparkline:
    """The values of the days, the last at the right edge; the highest reaches the top."""
    top = max(values, default=0)
    step = (width - 2 * _MARGIN) / max(1, len(values) - 1)
    floor = HEIGHT - _MARGIN
    points = [
        (round(_MARGIN + index * step, 1), round(floor - (HEIGHT - 2 * _MARGIN) * (value / top if top else 0), 1))
        for index, value in enumerate(values)
    ]
    line = " ".join(f"{x},{y}" for x, y in points)
    text = "No calls."
    if top:
        busiest = days[values.index(top)]
        text = f"{sum(values):,} calls in {len(values)} days, most on {dates.day(busiest)} ({top:,}), today {values[-1]:,}."
    end_x, end_y = points[-1]
    return Sparkline(width, HEIGHT, line, f"{_MARGIN},{floor} {line} {end_x},{floor}", end_x, end_y, text)
