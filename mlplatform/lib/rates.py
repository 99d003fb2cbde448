"""How often an actor did something in a window of time, counted by django-ratelimit, where admission has no say."""

from django_ratelimit.core import get_usage
from django_redis.exceptions import ConnectionInterrupted

from mlplatform.lib.errors import unavailable
from mlplatform.lib.redis import FAILURES


def wait_s(*, group: str, key: str, rate: str, uncounted: str) -> float:
    """Count one more of ``key`` in ``group``; 0 where the rate, such as ``60/m``, allows it, else seconds until it does.

    Raises UNAVAILABLE with the words of ``uncounted`` where nothing can be counted, for then all are refused.
    """
    try:
        usage = get_usage(None, group=group, key=lambda _group, _request: key, rate=rate, increment=True)
    except (ConnectionInterrupted, *FAILURES) as error:
        raise unavailable(uncounted) from error
    if usage is None or not usage["should_limit"]:
        return 0.0
    if usage["limit"] == 0:  # django-ratelimit's way to say that it could not count
        raise unavailable(uncounted)
    return float(max(1, int(usage["time_left"])))


def used(*, group: str, key: str, rate: str) -> int:
    """How many were counted in the running window. Raises UNAVAILABLE where that cannot be told."""
    try:
        usage = get_usage(None, group=group, key=lambda _group, _request: key, rate=rate, increment=False)
    except (ConnectionInterrupted, *FAILURES) as error:
        raise unavailable("What was counted cannot be told at the moment.") from error
    return int(usage["count"]) if usage is not None else 0
