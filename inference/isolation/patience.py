"""How long a worker waits for the process of a tenant's model: on the clock, but longer while it waits for a processor.

The process is niced, so on a machine that models on sale keep busy it may run a tenth of the time. That is no fault of the
model, and must not break its limit, for the second break takes the version out of service. What it computes meanwhile is
bounded by its limit of processor time.
"""

import time
from pathlib import Path
from typing import Final

_MOST: Final = 6
"""Times the limit on the clock, however long the process waits for a processor."""
_SLICE: Final = 0.1
"""Of the limit, for a process that can run, before it is looked at again."""


class Patience:
    """From now on, ``limit_s`` seconds for the process ``pid``."""

    def __init__(self, pid: int, limit_s: float) -> None:
        self._tasks = Path(f"/proc/{pid}/task")
        self._limit_s = limit_s
        self._began = time.monotonic()

    def left_s(self) -> float:
        """Seconds until the next look; 0 when the time is over. Beyond the limit only a process that can run has more."""
        taken = time.monotonic() - self._began
        if taken < self._limit_s:
            return self._limit_s - taken
        if taken < _MOST * self._limit_s and self._can_run():
            return self._limit_s * _SLICE
        return 0.0

    def _can_run(self) -> bool:
        """Whether a thread of the process runs or waits for a processor; False where the kernel does not tell."""
        try:
            # The state follows the name, which may hold any character but is in parentheses.
            return any(
                (task / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0] == "R"
                for task in self._tasks.iterdir()
            )
        except (OSError, IndexError):
            return False
