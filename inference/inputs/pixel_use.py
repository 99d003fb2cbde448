"""How many pixels each tenant had unpacked in the last full minute, by all processes: gathered in memory, told once a second."""

import threading
from collections import Counter
from typing import Final

from mlplatform.lib import clock, redis
from mlplatform.lib.background import Ticker

_MINUTE_S: Final = 60
_KEPT_S: Final = 3 * _MINUTE_S
_lock = threading.Lock()
_waiting: Counter[int] = Counter()


def note(tenant_id: int, pixels: int) -> None:
    """So many more are unpacked for the tenant."""
    with _lock:
        _waiting[tenant_id] += pixels
    _ticker.ensure_started()


def flush() -> None:
    """Tell what was gathered. Raises what Redis raises; then it is lost, for it is shown to people and decides nothing."""
    with _lock:
        told = dict(_waiting)
        _waiting.clear()
    if not told:
        return
    key = _key(_minute())
    pipe = redis.state().pipeline(transaction=False)
    for tenant_id, pixels in told.items():
        pipe.hincrby(key, str(tenant_id), pixels)
    pipe.expire(key, _KEPT_S)
    pipe.execute()


def of_last_minute(tenant_id: int) -> int:
    """Pixels of the tenant in the last minute that is over. Raises what Redis raises."""
    found = redis.state().hget(_key(_minute() - 1), str(tenant_id))
    return int(found) if found is not None else 0


def forget() -> None:
    """Nothing was gathered; for tests."""
    with _lock:
        _waiting.clear()


def _minute() -> int:
    return int(clock.now().timestamp()) // _MINUTE_S


def _key(minute: int) -> str:
    return f"pixels:{minute}"


_ticker: Final = Ticker("pixel-use", 1.0, flush, hands_over=True)
