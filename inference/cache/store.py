"""Answers that were computed before: first in this process, then in the cache Redis, both by canonical key.

A cache that is down is a miss, a metric and no error. The model version's digest is part of the key, so a promotion
can serve no stale answer; the epoch in the key is how staff purge. ``inference.cache.leases`` keeps processes from computing
the same input at the same time.

An answer to a text that was cut is kept with the text's length. It does for calls that let it be cut and tells others that
their text is too long; a text that was read whole answers both. Only what is under way is kept apart, by :func:`lease_key`.
"""

import struct
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from django.conf import settings
from prometheus_client import Counter

from inference.types import REFUSE, ModelRef, TextLength
from mlplatform.lib import clock, redis, tally

ENTRY: Final = b"p:"
CLAIM: Final = b"c:"
_CUTS: Final = b"/cut"
_HEAD: Final = struct.Struct("<dIII")
"""Moment of computing (unix seconds), time to live (seconds), tokens of a text that was cut, how many of them were read."""
OVERHEAD_BYTES: Final = 250  # of one entry in the process: key, tuple, dictionary slot
_BYTES_PER_SCORE: Final = 4
_WHOLE: Final = (0, 0)
_AWAY_S: Final = 1.0

_lookups = Counter("mlplatform_cache_lookups_total", "Looks into the prediction cache.", ["level", "outcome"])
_failures = Counter(
    "mlplatform_cache_failures_total", "Calls of the cache Redis that failed and counted as a miss.", ["call"]
)
_local_hit = _lookups.labels("process", "hit")
_remote_hit = _lookups.labels("redis", "hit")
_missed = _lookups.labels("redis", "miss")


@dataclass(frozen=True, slots=True)
class Entry:
    """Scores of one answer as float32 bytes, and when they were computed and end (unix seconds); ``length`` of a text that
    was cut."""

    scores: bytes
    computed_at: float
    expires_at: float
    length: TextLength | None = None

    def age_s(self) -> int:
        return max(0, int(clock.now().timestamp() - self.computed_at))


class LocalCache:
    """The most recently used answers of this process, bounded by bytes; it belongs to the event loop's thread."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.bytes = 0
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()

    def get(self, key: bytes) -> Entry | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.expires_at <= clock.now().timestamp():
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry

    def put(self, key: bytes, entry: Entry) -> None:
        if key in self._entries:
            self._drop(key)
        if len(entry.scores) + OVERHEAD_BYTES > self._max_bytes:
            return  # It would drive out everything else and then not fit itself.
        self._entries[key] = entry
        self.bytes += len(entry.scores) + OVERHEAD_BYTES
        while self.bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def __len__(self) -> int:
        return len(self._entries)

    def clear(self) -> None:
        self._entries.clear()
        self.bytes = 0

    def _drop(self, key: bytes) -> None:
        self.bytes -= len(self._entries.pop(key).scores) + OVERHEAD_BYTES


local: Final = LocalCache(settings.LOCAL_CACHE_BYTES)
_failed_at = float("-inf")  # of the last failure, on the monotonic clock


def fits(outputs: int) -> bool:
    """Whether an answer of so many scores is kept at all; a larger one is computed each time."""
    return outputs * _BYTES_PER_SCORE <= settings.MAX_CACHED_ENTRY_BYTES


def usable(entry: Entry | None, ref: ModelRef) -> Entry | None:
    """The entry, unless another release wrote it, or staff have mended the version's labels since."""
    return entry if entry is not None and len(entry.scores) == _BYTES_PER_SCORE * ref.outputs else None


def lease_key(key: bytes, truncate: int) -> bytes:
    """Under what a computation is known while it runs: one that may cut its text answers no call that has it refused."""
    return key if truncate == REFUSE else key + _CUTS


def is_away() -> bool:
    """Whether the cache Redis failed within the last second, so that what can do without it does not wait for it again."""
    return clock.monotonic() - _failed_at < _AWAY_S


def failed(call: str) -> None:
    """A call of the cache Redis failed; it counts as a miss."""
    global _failed_at
    _failed_at = clock.monotonic()
    _failures.labels(call).inc()


def forget() -> None:
    """Drop what this process knows; for tests."""
    global _failed_at
    _failed_at = float("-inf")
    local.clear()


def at_hand(key: bytes) -> Entry | None:
    """The answer that this process has, which is counted; of the event loop."""
    entry = local.get(key)
    if entry is not None:
        tally.count(_local_hit)
    return entry


def received(value: bytes | str | None) -> Entry | None:
    """The entry that the cache Redis had, or None; counts which."""
    entry = unpack(value)
    (_missed if entry is None else _remote_hit).inc()
    return entry


def keep(
    entries: Mapping[bytes, bytes], *, ttl_s: int, lengths: Mapping[bytes, TextLength] = MappingProxyType({})
) -> None:
    """Keep scores by key in the cache Redis and end the claims on them; the worker calls it for a batch, in one round trip.
    ``lengths`` are those of texts that were cut.

    Entries first: a process that finds no claim any more must find the answer.
    """
    if not entries or not ttl_s:
        return
    now = clock.now().timestamp()
    try:
        pipe = redis.cache().pipeline(transaction=False)
        for key, scores in entries.items():
            pipe.set(ENTRY + key, _HEAD.pack(now, ttl_s, *(lengths.get(key) or _WHOLE)) + scores, ex=ttl_s)
        pipe.delete(*(CLAIM + name for key in entries for name in (key, key + _CUTS)))
        pipe.execute()
    except redis.FAILURES:
        failed("put")


def put_local(key: bytes, scores: bytes, *, ttl_s: int, length: TextLength | None = None) -> None:
    """Keep an answer that this process has just received; ``length`` is that of a text that was cut."""
    now = clock.now().timestamp()
    local.put(key, Entry(scores=scores, computed_at=now, expires_at=now + ttl_s, length=length))


def unpack(value: bytes | str | None) -> Entry | None:
    """The entry that the cache Redis holds; None for nothing, and for fewer bytes than the head, which no release wrote."""
    if value is None or len(value) < _HEAD.size:
        return None
    packed = redis.as_bytes(value)
    computed_at, ttl_s, *length = _HEAD.unpack_from(packed)
    return Entry(
        scores=packed[_HEAD.size :],
        computed_at=computed_at,
        expires_at=computed_at + ttl_s,
        length=TextLength(*length) if length != [*_WHOLE] else None,
    )
