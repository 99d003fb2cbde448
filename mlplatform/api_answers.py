"""What every API answer gets, whichever way its call took: a count, a metric, headers of transport security."""

from functools import lru_cache
from typing import Final

from django.conf import settings
from prometheus_client import Counter

from mlplatform.lib import tally
from mlplatform.observability import traffic

_answers: Final = Counter("mlplatform_api_answers_total", "API calls that were answered.", ["operation", "status"])
_seconds: Final = tally.Histogram(
    "mlplatform_api_seconds", "From the first to the last line of our code for an API call.", ["operation"]
)
_brownouts: Final = Counter(
    "mlplatform_api_brownout_answers_total",
    "API calls that a planned brownout refused; each is one of mlplatform_api_answers_total with status 503 too.",
    ["operation"],
)


def observe(operation: str, status: int, seconds: float, *, brownout: bool = False) -> None:
    """One call was answered; ``brownout`` tells a planned refusal from a failure of the same status."""
    tally.count(_answered(operation, status))
    tally.observe(_timed(operation), seconds)
    if brownout:
        tally.count(_of_brownout(operation))
    traffic.count(status, brownout=brownout)


@lru_cache(maxsize=1)
def security_headers() -> tuple[tuple[str, str], ...]:
    """Headers that tell browsers to trust neither the body's looks nor, where https is on, plain http."""
    headers = [("X-Content-Type-Options", "nosniff")]
    if settings.SECURE_HSTS_SECONDS:
        headers.append(
            ("Strict-Transport-Security", f"max-age={settings.SECURE_HSTS_SECONDS}; includeSubDomains; preload")
        )
    return tuple(headers)


# A metric's child is found through a lock and a dictionary of tuples each time; the pairs are few.
@lru_cache(maxsize=512)
def _answered(operation: str, status: int) -> Counter:
    return _answers.labels(operation, status)


@lru_cache(maxsize=64)
def _timed(operation: str) -> tally.Histogram:
    return _seconds.labels(operation)


@lru_cache(maxsize=64)
def _of_brownout(operation: str) -> Counter:
    return _brownouts.labels(operation)
