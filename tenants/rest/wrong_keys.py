"""Wrong keys are counted by the client's address, so that nobody can keep the database busy by guessing."""

import logging

from django.conf import settings
from django_ratelimit.core import get_usage
from django_redis.exceptions import ConnectionInterrupted
from prometheus_client import Counter
from redis.exceptions import RedisError

from mlplatform.lib.client_address import client_address
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.rest.call import RestCall

logger = logging.getLogger(__name__)

_GROUP = "wrong-keys"
_failures = Counter("mlplatform_wrong_key_counter_failures_total", "Wrong keys that could not be counted.")


def refuse_if_too_many(call: RestCall) -> None:
    """Raises TOO_MANY_ATTEMPTS when this address has sent too many wrong keys within the minute."""
    usage = _usage(call, increment=False)
    # Not "should_limit", which is for a look that counts itself: it would let one more through. A limit of 0 is
    # django-ratelimit's way to say that it could not count.
    if usage and usage["limit"] and usage["count"] >= usage["limit"]:
        raise PlatformError(
            ErrorKind.TOO_MANY_ATTEMPTS,
            "Too many wrong API keys came from this address; check the key and wait.",
            retry_after_s=float(usage["time_left"]),
        )


def count(call: RestCall) -> None:
    """One more wrong key from this address."""
    _usage(call, increment=True)


def _usage(call: RestCall, *, increment: bool) -> dict[str, int] | None:
    try:
        usage: dict[str, int] | None = get_usage(
            call, group=_GROUP, key=_address_of, rate=settings.WRONG_KEYS_PER_ADDRESS, increment=increment
        )
    except (ConnectionInterrupted, RedisError, OSError):
        # Without Redis no call is admitted anyway; the wrong key still gets its 401.
        _failures.inc()
        logger.warning("wrong keys cannot be counted while the state Redis is away")
        return None
    return usage


def _address_of(group: str, call: RestCall) -> str:
    return client_address(call.META, trusted_proxies=settings.TRUSTED_PROXIES)
