"""What calls tell: that too many of them fail."""

from collections.abc import Iterable
from typing import Final

from mlplatform import traffic_page
from mlplatform.attention.notice import Notice
from mlplatform.lib import redis
from mlplatform.observability import traffic

_HOURS: Final = 2
_BAD_RATE: Final = 0.01
_LEAST_FAILED: Final = 5
"""Fewer failures than this are no rate: a quiet night with one call would be an alarm."""


def failing() -> Iterable[Notice]:
    """The error rate of the running hour and the one before it. Planned brownouts are no failures."""
    try:
        found = traffic.latest(_HOURS)
    except redis.FAILURES:
        return  # Said already, by the notice of the workers.
    if found.failed >= _LEAST_FAILED and found.error_rate >= _BAD_RATE:
        judged, rate = found.requests - found.brownouts, 100 * found.error_rate
        text = f"{rate:.1f} % of calls failed in the last {_HOURS} hours: {found.failed:,} of {judged:,} were answered with 5xx."
        yield Notice("danger", "error", text, traffic_page.address())
