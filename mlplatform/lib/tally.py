"""Metrics of the hottest path, gathered in memory and handed to Prometheus once a second.

Where processes share their metrics through files, each increment takes one lock of the process and writes to a file;
sixteen busy threads spent a quarter of a cached prediction's CPU waiting for that lock. A list's ``append`` needs none.
"""

import threading
from bisect import bisect_left
from collections import Counter as Count
from collections.abc import Sequence
from typing import Final, TypeVar

import prometheus_client
from prometheus_client import Counter

from mlplatform.lib.background import Ticker

T = TypeVar("T")


class Histogram(prometheus_client.Histogram):
    """One that takes many values at once: by itself each costs two writes to the shared file."""

    def observe_each(self, values: Sequence[float]) -> None:
        """Observe these values; its children have it too."""
        self._sum.inc(sum(values))
        for place, number in Count([bisect_left(self._upper_bounds, value) for value in values]).items():
            self._buckets[place].inc(number)


_flushing: Final = threading.Lock()
_counted: Final[list[Counter]] = []
_observed: Final[list[tuple[prometheus_client.Histogram, float]]] = []


def count(counter: Counter) -> None:
    """One more."""
    _counted.append(counter)
    _ticker.ensure_started()


def observe(histogram: prometheus_client.Histogram, value: float) -> None:
    """One more value."""
    _observed.append((histogram, value))


def flush() -> None:
    """Hand over what was gathered; the page of metrics calls it too, so that it never lags behind its own process."""
    counted, observed = _take(_counted), _take(_observed)
    for counter, number in Count(counted).items():
        counter.inc(number)
    values: dict[prometheus_client.Histogram, list[float]] = {}
    for histogram, value in observed:
        values.setdefault(histogram, []).append(value)
    for histogram, some in values.items():
        if isinstance(histogram, Histogram):
            histogram.observe_each(some)
        else:
            for value in some:
                histogram.observe(value)


def _take(gathered: list[T]) -> list[T]:
    # What is appended meanwhile stays for the next time: only the part that was copied is removed.
    with _flushing:
        taken = gathered[:]
        del gathered[: len(taken)]
    return taken


_ticker: Final = Ticker("tally", 1.0, flush, hands_over=True)
