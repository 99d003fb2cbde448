"""Holds that could not be taken back while the state Redis was away, taken back as soon as it answers again.

Their calls were told that nothing was charged. A command to a Redis that gave no answer may have been done: an
admission, a settlement, by this process or by a worker whose batch outlived the outage in the broker. So each of these holds
is voided, and that is repeated until Redis has said that it was done.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Final

from prometheus_client import Gauge

from billing import admission
from billing.admission import Subject
from billing.admission.settling import VOIDED_AT_ONCE
from mlplatform.lib.background import Ticker
from mlplatform.lib.errors import PlatformError, unavailable

logger = logging.getLogger(__name__)

_PERIOD_S: Final = 0.1
_RUNS: Final = 100
MOST: Final = 200_000
"""So many holds may wait; then nothing more is admitted, for a call that could not be taken back must not be tried."""

_waiting_gauge: Final = Gauge(
    "mlplatform_holds_to_give_back", "Holds whose release failed and is tried again.", multiprocess_mode="livesum"
)

_lock = threading.Lock()
_owed: dict[tuple[int, int], list[str]] = {}
"""Hold ids by shard and tenant."""
_waiting = 0


def owe(subject: Subject, hold_ids: Sequence[str]) -> None:
    """Void these holds when Redis answers."""
    global _waiting
    with _lock:
        first = not _waiting
        _owed.setdefault((subject.shard, subject.tenant_id), []).extend(hold_ids)
        _waiting += len(hold_ids)
        _waiting_gauge.set(_waiting)
    if first:
        logger.warning("units could not be given back now; it is tried until the state Redis answers")
    _ticker.ensure_started()


def require_room() -> None:
    """Raises UNAVAILABLE while so much waits that no call may be added to it."""
    if _waiting >= MOST:
        raise unavailable("Usage cannot be checked at this moment; nothing was charged. Please try again.")


def waiting() -> int:
    """How many holds are still to be voided."""
    return _waiting


def give_back() -> None:
    """Void what waits, until Redis fails again."""
    for _ in range(_RUNS):
        taken = _take()
        if taken is None:
            return
        (shard, tenant_id), hold_ids = taken
        try:
            admission.void(tenant_id=tenant_id, shard=shard, hold_ids=hold_ids)
        except PlatformError:
            with _lock:
                _owed.setdefault((shard, tenant_id), []).extend(hold_ids)
            return
        _paid(len(hold_ids))


def _take() -> tuple[tuple[int, int], list[str]] | None:
    with _lock:
        if not _owed:
            return None
        owner = next(iter(_owed))
        waiting = _owed[owner]
        hold_ids, rest = waiting[:VOIDED_AT_ONCE], waiting[VOIDED_AT_ONCE:]
        if rest:
            _owed[owner] = rest
        else:
            del _owed[owner]
        return owner, hold_ids


def _paid(number: int) -> None:
    global _waiting
    with _lock:
        _waiting -= number
        _waiting_gauge.set(_waiting)


def forget() -> None:
    """Drop what waits; for tests."""
    global _waiting
    with _lock:
        _owed.clear()
        _waiting = 0
    _ticker.stop()


_ticker = Ticker("late-releases", _PERIOD_S, give_back, hands_over=True)
