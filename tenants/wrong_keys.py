"""Wrong keys are counted by the client's address, so that nobody can keep the database busy by guessing."""

import logging

from django.conf import settings
from django_ratelimit.core import get_usage
from django_redis.exceptions import ConnectionInterrupted
from prometheus_client import Counter
from redis.exceptions import RedisError

from mlplatform.lib.errors import ErrorKind, PlatformError

logger = logging.getLogger(__name__)

_GROUP = "wrong-keys"
_failures = Counter("mlplatform_wrong_key_counter_failures_total", "Wrong keys that could not be counted.")


def refuse_if_too_many(address: str) -> None:
    """Raises TOO_MANY_ATTEMPTS when this address has sent too many wrong keys within the minute."""
    usage = _usage(address, increment=False)
    # Not "should_limit", which is for a look that counts itself: it would let one more through. A limit of 0 is
    # django-ratelimit's way to say that it could not count.
    if usage and usage["limit"] and usage["count"] >= usage["limit"]:
        raise PlatformError(
            ErrorKind.TOO_MANY_ATTEMPTS,
            "Too many wrong API keys came from this address; check the key and wait.",
            retry_after_s=float(usage["time_left"]),
        )


def count(address: str) -> None:
    """One more wrong key from this address."""
    _usage(address, increment=True)


def _usage(address: str, *, increment: bool) -> dict[str, int] | None:
    try:
        # There is no request: the key function knows the address, and all methods count.
        usage: dict[str, int] | None = get_usage(
            None,
            group=_GROUP,
            key=lambda group, request: address,
            rate=settings.WRONG_KEYS_PER_ADDRESS,
            increment=increment,
        )
    except (ConnectionInterrupted, RedisError, OSError):
        # Without Redis no call is admitted anyway; the wrong key still gets its 401.
        _failures.inc()
        logger.warning("wrong keys cannot be counted while the state Redis is away")
        return None
    return usage
