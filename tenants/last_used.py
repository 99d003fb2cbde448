"""When each key was last used: noted in memory, gathered in Redis each second, written to SQL at most once a minute."""

import datetime as dt
import threading

from django.db.models import Q

from mlplatform.lib import clock, redis
from mlplatform.lib.background import Ticker
from tenants.models import ApiKey

_GATHERED = "keys:last-used"

_lock = threading.Lock()
_noted: dict[str, float] = {}


def note(key_uid: str) -> None:
    """Remember that the key is used now; costs a lock and a dictionary write."""
    moment = clock.now().timestamp()
    with _lock:
        _noted[key_uid] = moment
    _ticker.ensure_started()


def gather() -> None:
    """Send what this process noted to Redis; on failure it is noted again for the next try."""
    global _noted
    with _lock:
        noted, _noted = _noted, {}
    if not noted:
        return
    try:
        redis.state().hset(_GATHERED, mapping={uid: f"{moment:.0f}" for uid, moment in noted.items()})
    except redis.FAILURES:
        with _lock:
            _noted = noted | _noted


def flush() -> int:
    """Write what all processes gathered to the keys' rows, and give their number. A beat task calls it each minute.

    Raises what Redis or SQL raise; what could not be written is gathered again.
    """
    pipe = redis.state().pipeline(transaction=True)
    pipe.hgetall(_GATHERED)
    pipe.delete(_GATHERED)
    gathered: dict[bytes, bytes] = pipe.execute()[0]
    try:
        for uid, moment in gathered.items():
            used = dt.datetime.fromtimestamp(float(moment), dt.UTC)
            rows = ApiKey.objects.filter(Q(last_used_at__isnull=True) | Q(last_used_at__lt=used), uid=uid.decode())
            # An update, not a save: being used is no change that the audit log or a guard should see.
            rows.update(last_used_at=used)
    except Exception:
        pipe = redis.state().pipeline(transaction=False)
        for uid, moment in gathered.items():
            pipe.hsetnx(_GATHERED, uid.decode(), moment.decode())
        pipe.execute()
        raise
    return len(gathered)


_ticker = Ticker("last-used", 1.0, gather, hands_over=True)
