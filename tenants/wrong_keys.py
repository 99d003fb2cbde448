"""Wrong keys are counted by the client's address and slowed down; keys that are good pass from everywhere, uncounted."""

import logging

from django.conf import settings
from prometheus_client import Counter

from mlplatform.lib import rates
from mlplatform.lib.errors import ErrorKind, PlatformError

logger = logging.getLogger(__name__)

_GROUP = "wrong-keys"
_failures = Counter("mlplatform_wrong_key_counter_failures_total", "Wrong keys that could not be counted.")


def count(address: str) -> None:
    """One more wrong key from this address. Raises TOO_MANY_ATTEMPTS when it has sent too many within the minute.

    To be called once a key is known to be wrong: an address that many share is never refused for one of them.
    """
    try:
        wait_s = rates.wait_s(
            group=_GROUP, key=address, rate=settings.WRONG_KEYS_PER_ADDRESS, uncounted="Wrong keys cannot be counted."
        )
    except PlatformError:
        # Without Redis no call is admitted anyway; the wrong key still gets its 401.
        _failures.inc()
        logger.warning("wrong keys cannot be counted while the state Redis is away")
        return
    if wait_s:
        raise PlatformError(
            ErrorKind.TOO_MANY_ATTEMPTS,
            "Too many wrong API keys came from this address; check the key and wait. Good keys are not held up.",
            retry_after_s=wait_s,
        )
