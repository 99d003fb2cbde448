"""How many pixels may be unpacked: of one call, and for one key over time.

A file of three kilobytes can hold 25 million pixels. What is unpacked is admitted and paid before, but a file that turns out to
be damaged is not paid for; so each key has a budget that fills again, kept by each process.
"""

import threading
from collections import OrderedDict
from typing import Final

from django.conf import settings

from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind, PlatformError, invalid

_MAX_KEYS: Final = 10_000
_lock = threading.Lock()
_left: "OrderedDict[str, tuple[float, float]]" = OrderedDict()
"""By key: the pixels that were left, and when (monotonic clock)."""


def require_for_call(pixels: int, *, field: str) -> None:
    """Raises INVALID_INPUT where the images of a call, up to that of ``field``, have more pixels than one call may."""
    most: int = settings.MAX_CALL_PIXELS
    if pixels > most:
        raise invalid(
            field, f"The images of this call have {pixels:,} pixels together; at most {most:,} are taken. Split it."
        )


def take(key: str, pixels: int, *, field: str) -> None:
    """Take from the key's budget. Raises TOO_MANY_ATTEMPTS that says when there is enough again; nothing is taken then."""
    most, refill = float(settings.MAX_CALL_PIXELS), float(settings.PIXELS_PER_KEY_PER_S)
    now = clock.monotonic()
    with _lock:
        before, at = _left.get(key, (most, now))
        left = min(most, before + (now - at) * refill) - pixels
        if left < 0:
            raise PlatformError(
                ErrorKind.TOO_MANY_ATTEMPTS,
                f"This key sends more pixels than the {refill:,.0f} a second that it may; nothing was charged for it.",
                field=field,
                retry_after_s=max(1.0, -left / refill),
            )
        _left[key] = (left, now)
        _left.move_to_end(key)
        while len(_left) > _MAX_KEYS:
            _left.popitem(last=False)


def forget() -> None:
    """Every key has its whole budget; for tests."""
    with _lock:
        _left.clear()
