"""How many pixels may be unpacked: of one call, and for one key over time.

A file of three kilobytes can hold 25 million pixels. What is unpacked is admitted and paid before, but a file that turns out to
be damaged is not paid for; so each key has a budget that fills again, kept by each process. A tenant whose plan says how many
pixels it may send has one budget for all its keys.
"""

import threading
from collections import OrderedDict
from typing import Final

from django.conf import settings
from prometheus_client import Counter

from billing.contracts import Contract
from inference.inputs import pixel_use
from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind, PlatformError, invalid

_MAX_KEYS: Final = 10_000

_refused = Counter(
    "mlplatform_pixels_refused_total", "Images that were not unpacked, because no pixels were left for them."
)

_lock = threading.Lock()
_left: "OrderedDict[str, tuple[float, float]]" = OrderedDict()
"""By key, or tenant: the pixels that were left, and when (monotonic clock)."""


def require_for_call(pixels: int, *, field: str) -> None:
    """Raises INVALID_INPUT where the images of a call, up to that of ``field``, have more pixels than one call may."""
    most: int = settings.MAX_CALL_PIXELS
    if pixels > most:
        raise invalid(
            field, f"The images of this call have {pixels:,} pixels together; at most {most:,} are taken. Split it."
        )


def take(contract: Contract, pixels: int, *, field: str) -> None:
    """Take from the budget of the key, or of its tenant where the plan says one. Raises TOO_MANY_ATTEMPTS that says when there is
    enough again; nothing is taken then."""
    of_plan = contract.pixels_per_s
    owner = contract.subject.key_id if of_plan is None else f"tenant:{contract.subject.tenant_id}"
    most, refill = float(settings.MAX_CALL_PIXELS), float(settings.PIXELS_PER_KEY_PER_S if of_plan is None else of_plan)
    now = clock.monotonic()
    with _lock:
        before, at = _left.get(owner, (most, now))
        left = min(most, before + (now - at) * refill) - pixels
        if left < 0:
            _refused.inc()
            who = "This key" if of_plan is None else "This tenant"
            raise PlatformError(
                ErrorKind.TOO_MANY_ATTEMPTS,
                f"{who} sends more pixels than the {refill:,.0f} a second that it may; nothing was charged for it. Send smaller "
                "images, or ask for a larger plan.",
                field=field,
                retry_after_s=max(1.0, -left / refill),
            )
        _left[owner] = (left, now)
        _left.move_to_end(owner)
        while len(_left) > _MAX_KEYS:
            _left.popitem(last=False)
    pixel_use.note(contract.subject.tenant_id, pixels)


def forget() -> None:
    """Every budget is whole; for tests."""
    with _lock:
        _left.clear()
    pixel_use.forget()
