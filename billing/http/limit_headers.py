"""Limit headers of draft-ietf-httpapi-ratelimit-headers, and the three simple ones beside them."""

import calendar
import math
from functools import lru_cache

from billing import admission
from billing.admission import Decision, Limit, LimitKind, LimitState
from mlplatform.lib import clock


def of(decision: Decision) -> dict[str, str]:
    """The headers that tell every limit of the caller and how much of it is left; none for a caller without limits."""
    if not decision.states:
        return {}
    now = clock.now()
    parts = [f'"{state.limit.name}";r={max(0, state.remaining)};t={_seconds(state)}' for state in decision.states]
    limits = [state.limit for state in decision.states]
    tightest = admission.tightest(decision)
    return {
        "RateLimit-Policy": _policies(tuple(limits), now.year, now.month),
        "RateLimit": ", ".join(parts),
        "X-RateLimit-Limit": str(tightest.limit.amount),
        "X-RateLimit-Remaining": str(max(0, tightest.remaining)),
        "X-RateLimit-Reset": str(_seconds(tightest)),
    }


@lru_cache(maxsize=4096)
def _policies(limits: tuple[Limit, ...], year: int, month: int) -> str:
    return ", ".join(_policy(limit, calendar.monthrange(year, month)[1] * 86_400) for limit in limits)


def _policy(limit: Limit, month_s: int) -> str:
    window = {
        LimitKind.TOKEN_BUCKET: math.ceil(limit.amount / limit.rate) if limit.rate else 0,
        LimitKind.FIXED_WINDOW: limit.window_s,
        LimitKind.SLIDING_WINDOW: limit.window_s,
        LimitKind.MONTHLY: month_s,
        LimitKind.CONCURRENCY: 0,
    }[limit.kind]
    parts = [f'"{limit.name}"', f"q={limit.amount}"]
    if window:
        parts.append(f"w={window}")
    if limit.counts == "units":
        parts.append('x-unit="units"')
    return ";".join(parts)


def _seconds(state: LimitState) -> int:
    """Seconds until the call passes where it was refused, else until the limit is whole again; rounded up."""
    seconds = state.wait_s if state.refused and math.isfinite(state.wait_s) else state.reset_s
    return math.ceil(seconds)
