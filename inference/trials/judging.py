"""Whether a canary breaks its bounds: pure functions of what was seen.

Latencies are kept as a histogram whose buckets grow by 2^(1/8), so a median is right to 5 %, whatever it is.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

_SMALLEST_MS: Final = 0.125
_STEPS: Final = 8
MAX_BUCKET: Final = 200
"""About an hour: what took longer counts as that."""
_CLEARLY: Final = 2.0
"""How many times the live version's error rate the canary's must be: where both fail, the candidate is not the reason."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """``max_error_rate`` is a share of inputs, 0 to 1; ``max_latency_ratio`` is canary's median by the live version's."""

    max_error_rate: float
    max_latency_ratio: float
    min_calls: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of one version: inputs, those that failed, and how many took how long, by bucket."""

    calls: int = 0
    errors: int = 0
    timings: Mapping[int, int] = field(default_factory=dict)

    @property
    def error_rate(self) -> float:
        return self.errors / self.calls if self.calls else 0.0

    @property
    def timed(self) -> int:
        return sum(self.timings.values())

    @property
    def median_ms(self) -> float | None:
        """None while nothing was timed."""
        half, passed = (self.timed + 1) // 2, 0
        for place in sorted(self.timings):
            passed += self.timings[place]
            if passed >= half > 0:
                return milliseconds(place)
        return None


def bucket(ms: float) -> int:
    """The bucket of a latency in milliseconds."""
    return min(MAX_BUCKET, max(0, int(_STEPS * math.log2(max(ms, _SMALLEST_MS) / _SMALLEST_MS))))


def milliseconds(place: int) -> float:
    """The middle of a bucket."""
    return float(_SMALLEST_MS * 2 ** ((place + 0.5) / _STEPS))


def verdict(bounds: Bounds, canary: Seen, live: Seen) -> str:
    """Why the canary must end, as a sentence; empty while its bounds hold or too little was seen to tell.

    Errors count where the live version does not fail as well; latency where both were timed ``min_calls`` times.
    """
    if canary.calls >= bounds.min_calls and canary.error_rate > max(bounds.max_error_rate, _CLEARLY * live.error_rate):
        return (
            f"{canary.errors:,} of {canary.calls:,} inputs failed ({canary.error_rate:.1%}); "
            f"{bounds.max_error_rate:.1%} may, and of the live version's {live.error_rate:.1%} did."
        )
    ours, theirs = canary.median_ms, live.median_ms
    if ours is None or theirs is None or min(canary.timed, live.timed) < bounds.min_calls:
        return ""
    if ours > bounds.max_latency_ratio * theirs:
        return (
            f"Its median is {ours:.1f} ms, {ours / theirs:.1f} times the live version's {theirs:.1f} ms; "
            f"{bounds.max_latency_ratio:g} times is allowed."
        )
    return ""
