"""Permits for open streams: a bound for each tenant, so that one tenant's idle streams leave permits to others."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from mlplatform.lib.errors import ErrorKind, PlatformError


class StreamPermits:
    """At most ``most`` for each tenant in this process."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: Counter[int] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def of(self, tenant_id: int) -> Iterator[None]:
        """One permit while the block runs. Raises OVERLOADED when the tenant has no more."""
        with self._lock:
            if self._taken[tenant_id] >= self._most:
                raise PlatformError(
                    ErrorKind.OVERLOADED,
                    f"Your tenant has {self._most} streams open on this server, as many as it may; use those, or close one.",
                    retry_after_s=1.0,
                )
            self._taken[tenant_id] += 1
        try:
            yield
        finally:
            with self._lock:
                self._taken[tenant_id] -= 1
                if not self._taken[tenant_id]:
                    del self._taken[tenant_id]
