"""How long a worker waits for the process of a tenant's model: on the clock, less what the process itself waited for a processor.

The process is niced, so on a machine that models on sale keep busy it may run a tenth of the time. That is no fault of the
model, and must not break its limit, for the second break takes the version out of service.
"""

import time
from pathlib import Path
from typing import Final

_MOST: Final = 6
"""Times the limit on the clock, however long the process waits for a processor."""
_NS: Final = 1e-9


class Patience:
    """From now on, ``limit_s`` seconds for the process ``pid``."""

    def __init__(self, pid: int, limit_s: float) -> None:
        self._file = Path(f"/proc/{pid}/schedstat")
        self._limit_s = limit_s
        self._began = time.monotonic()
        self._queued_before = self._queued_s()

    def left_s(self) -> float:
        """Seconds that are left, at least 0."""
        queued = min(self._queued_s() - self._queued_before, (_MOST - 1) * self._limit_s)
        return max(0.0, self._began + self._limit_s + max(0.0, queued) - time.monotonic())

    def _queued_s(self) -> float:
        """Seconds that the process has spent runnable without a processor; 0 where the kernel does not tell."""
        try:
            return int(self._file.read_text(encoding="ascii").split()[1]) * _NS
        except (OSError, IndexError, ValueError):
            return 0.0
