"""A memory of this process that is bounded in time and in size."""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from mlplatform.lib import clock

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class TTLCache(Generic[K, V]):
    """Values by key, each until its time is over; beyond ``most`` of them the one that was put longest ago goes. Thread-safe.

    :meth:`get` takes no lock and moves nothing, for it stands on the path of every call: one look-up in a dictionary is
    atomic. A value whose time is over keeps its place until it is replaced or displaced.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._lock = threading.Lock()
        self._entries: OrderedDict[K, tuple[V, float]] = OrderedDict()

    def get(self, key: K) -> V | None:
        """The value, if it was put less than its ``ttl_s`` ago."""
        entry = self._entries.get(key)
        if entry is None or entry[1] <= clock.monotonic():
            return None
        return entry[0]

    def put(self, key: K, value: V, *, ttl_s: float) -> None:
        """Keep the value for so many seconds."""
        with self._lock:
            self._entries[key] = (value, clock.monotonic() + ttl_s)
            self._entries.move_to_end(key)
            while len(self._entries) > self.most:
                self._entries.popitem(last=False)

    def drop(self, key: K) -> None:
        """Forget the value of this key, if there is one."""
        with self._lock:
            self._entries.pop(key, None)

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)
