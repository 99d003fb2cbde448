"""Numbers of running rollouts: counted in the process, added up in the state Redis off the path of a request.

A rollout has one hash for all its time and one for each five minutes, so that a canary that was good for a week is judged
by what it does now. Half a second of counts is lost with a process that is killed, all with Redis: a rollout then counts anew.
"""

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from inference.trials.judging import Seen
from mlplatform.lib import clock, redis
from mlplatform.lib.background import Ticker

CANARY, LIVE, SHADOW = "canary", "live", "shadow"
CALLS, ERRORS = "calls", "errors"
_TIME: Final = "t"
_PERIOD_S: Final = 0.5
_SLOT_S: Final = 300
_SLOT_KEPT_S: Final = 3 * _SLOT_S
_TOTAL_KEPT_S: Final = 30 * 86_400

_lock = threading.Lock()
_counts: dict[int, Counter[str]] = {}


@dataclass(frozen=True, slots=True)
class Counts:
    """What was counted: since the rollout began, and in the last five to ten minutes; by field, such as ``canary:calls``."""

    total: Mapping[str, int]
    recent: Mapping[str, int]


def add(rollout_id: int, arm: str, amounts: Mapping[str, int], *, bucket: int | None = None) -> None:
    """Count in this process; ``bucket`` is that of a latency. Costs a lock and a few additions."""
    with _lock:
        counter = _counts.setdefault(rollout_id, Counter())
        for name, amount in amounts.items():
            if amount:
                counter[f"{arm}:{name}"] += amount
        if bucket is not None:
            counter[f"{arm}:{_TIME}{bucket}"] += 1
    _ticker.ensure_started()


def flush() -> None:
    """Add this process's counts to the common ones; what cannot be added now is kept for the next time."""
    global _counts
    with _lock:
        taken, _counts = _counts, {}
    if not taken:
        return
    slot = _slot()
    try:
        pipe = redis.state().pipeline(transaction=False)
        for rollout_id, counter in taken.items():
            for key, kept_s in ((_key(rollout_id), _TOTAL_KEPT_S), (_key(rollout_id, slot), _SLOT_KEPT_S)):
                for name, amount in counter.items():
                    pipe.hincrby(key, name, amount)
                pipe.expire(key, kept_s)
        pipe.execute()
    except redis.FAILURES:
        with _lock:
            for rollout_id, counter in taken.items():
                _counts.setdefault(rollout_id, Counter()).update(counter)
        raise


def read(rollout_id: int) -> Counts:
    """What all processes have counted. Raises what Redis raises."""
    slot = _slot()
    pipe = redis.state().pipeline(transaction=False)
    for key in (_key(rollout_id), _key(rollout_id, slot - 1), _key(rollout_id, slot)):
        pipe.hgetall(key)
    total, before, now = ({redis.as_bytes(k).decode(): int(v) for k, v in found.items()} for found in pipe.execute())
    return Counts(total, Counter(before) + Counter(now))


def seen(counts: Mapping[str, int], arm: str) -> Seen:
    """The numbers of one arm, as they are judged."""
    times = f"{arm}:{_TIME}"
    timings = {int(name[len(times) :]): amount for name, amount in counts.items() if name.startswith(times)}
    return Seen(counts.get(f"{arm}:{CALLS}", 0), counts.get(f"{arm}:{ERRORS}", 0), timings)


def forget() -> None:
    """Drop what this process counted; for tests."""
    with _lock:
        _counts.clear()


def _slot() -> int:
    return int(clock.now().timestamp()) // _SLOT_S


def _key(rollout_id: int, slot: int | None = None) -> str:
    return f"{{rollout-{rollout_id}}}:seen" + (f":{slot}" if slot is not None else "")


_ticker = Ticker("rollout-counts", _PERIOD_S, flush, hands_over=True)
