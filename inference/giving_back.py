"""Holds that could not be released while the state Redis was away, given back as soon as it answers again.

A batch can survive the outage in the broker. Its callers were told that nothing was charged, so their holds must be
gone before a worker, which comes back more slowly, settles them. Holds end by themselves too, but only later.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Final

from prometheus_client import Gauge

from billing import admission
from mlplatform.lib import clock
from mlplatform.lib.background import Ticker
from mlplatform.lib.errors import PlatformError

_PERIOD_S: Final = 0.1
_MOST: Final = 10_000
_AT_ONCE: Final = 200

_waiting_gauge: Final = Gauge(
    "mlplatform_holds_to_give_back", "Holds whose release failed and is tried again.", multiprocess_mode="livesum"
)


@dataclass(frozen=True, slots=True)
class _Debt:
    tenant_id: int
    shard: int
    hold_ids: tuple[str, ...]
    ends_at: float


_lock = threading.Lock()
_debts: deque[_Debt] = deque(maxlen=_MOST)


def later(*, tenant_id: int, shard: int, hold_ids: tuple[str, ...], within_s: float) -> None:
    """Release these holds when Redis answers; after ``within_s`` they have ended by themselves."""
    with _lock:
        _debts.append(_Debt(tenant_id, shard, hold_ids, clock.monotonic() + within_s))
        _waiting_gauge.set(len(_debts))
    _ticker.ensure_started()


def give_back() -> None:
    """Release what waits, oldest first, until Redis fails again."""
    for _ in range(_AT_ONCE):
        with _lock:
            debt = _debts.popleft() if _debts else None
            _waiting_gauge.set(len(_debts))
        if debt is None:
            return
        if debt.ends_at <= clock.monotonic():
            continue
        try:
            admission.release(tenant_id=debt.tenant_id, shard=debt.shard, hold_ids=debt.hold_ids)
        except PlatformError:
            with _lock:
                _debts.appendleft(debt)
            return


def forget() -> None:
    """Drop what waits; for tests."""
    with _lock:
        _debts.clear()
    _ticker.stop()


_ticker = Ticker("giving-back", _PERIOD_S, give_back)
