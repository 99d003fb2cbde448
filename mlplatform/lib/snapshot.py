"""A value read from SQL that every process holds in memory and renews within a second of a change.

The writer publishes a new generation in the state Redis after its commit; each process compares it twice a second on
a thread of its own, so that the path of a request costs an attribute read. While Redis is away the value is read from
SQL at each tick instead, and now and then in any case, should the writer have found Redis away when the others did not.
"""

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from django.db import close_old_connections, connection, transaction

from mlplatform.lib import clock, redis
from mlplatform.lib.background import Ticker
from mlplatform.lib.ids import hex_id

logger = logging.getLogger(__name__)

T = TypeVar("T")

PERIOD_S = 0.5
MAX_AGE_S = 30.0


class Snapshot(Generic[T]):
    """``get()`` gives the value; ``publish()`` makes every process read it again."""

    def __init__(self, name: str, load: Callable[[], T]) -> None:
        self._key = f"snapshot:{name}"
        self._load = load
        self._lock = threading.Lock()
        self._loaded: tuple[bytes, T, float] | None = None
        self._ticker = Ticker(f"snapshot-{name}", PERIOD_S, self.renew)

    def get(self) -> T:
        """The value, at most about half a second old; read from SQL the first time."""
        loaded = self._loaded
        if loaded is None:
            with self._lock:
                # Into a variable: another thread's change may forget the value before it is returned.
                loaded = self._loaded
                if loaded is None:
                    # The generation is read first: a change in between makes the next tick load again.
                    generation = self._generation() or b""
                    loaded = self._loaded = (generation, self._load(), clock.monotonic())
        self._ticker.ensure_started()
        return loaded[1]

    def at_hand(self) -> T | None:
        """The value without a look into SQL; None before the first :meth:`get`, and after a change in this process."""
        loaded = self._loaded
        return loaded[1] if loaded is not None else None

    def renew(self) -> None:
        """Read the value again if its generation changed, if Redis cannot tell, or if it is 30 seconds old."""
        generation = self._generation()
        loaded = self._loaded
        if loaded is not None and generation == loaded[0] and clock.monotonic() - loaded[2] < MAX_AGE_S:
            return
        close_old_connections()
        try:
            value = self._load()
        finally:
            if not connection.in_atomic_block:
                connection.close()
        self._loaded = (generation or b"", value, clock.monotonic())

    def publish(self) -> None:
        """Tell every process when the transaction commits; this one reads the value at its next use."""
        transaction.on_commit(self._publish)

    def forget(self) -> None:
        """Drop the value of this process. Tests use it between databases."""
        self._ticker.stop()
        self._loaded = None

    def _publish(self) -> None:
        self._loaded = None
        try:
            redis.state().set(self._key, hex_id())
        except redis.FAILURES:
            logger.exception(
                "%s: the change could not be published; each process finds it within %d s", self._key, MAX_AGE_S
            )

    def _generation(self) -> bytes | None:
        try:
            return redis.as_bytes(redis.state().get(self._key) or b"")
        except redis.FAILURES:
            return None
