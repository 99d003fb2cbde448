"""What the Redis server's clock says now, estimated without asking, so that a call can carry a deadline.

A stalled server still runs, when it wakes, what clients sent and gave up on; a cache hit would then be charged to
a caller who was told that nothing was. So each call says until when its answer is awaited, in the server's own time.
"""

import math
from dataclasses import dataclass
from typing import Final

from mlplatform.lib import clock

MICRO: Final = 1_000_000
_KEEP_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class _Sample:
    offset_us: float
    at_s: float


class ServerClock:
    """An estimate that is never ahead of the server, however long its answers take, unless its clock steps back.

    Threads may share it: the worst that two can do to each other is to keep the coarser of two samples.
    """

    def __init__(self) -> None:
        self._sample = _Sample(-math.inf, -math.inf)

    def learn(self, server_us: int, *, anew: bool = False) -> None:
        """Note the server's time from an answer that has just arrived; the quickest answer of 10 s is the best."""
        now = clock.monotonic()
        offset = server_us - now * MICRO
        if anew or offset > self._sample.offset_us or now - self._sample.at_s > _KEEP_S:
            self._sample = _Sample(offset, now)

    def deadline_us(self, *, patience_s: float) -> int:
        """The server's time when ``patience_s`` from now have passed; 0 while it is not known."""
        sample = self._sample
        if sample.at_s == -math.inf:
            return 0
        return int(sample.offset_us + (clock.monotonic() + patience_s) * MICRO)


OF_STATE: Final = ServerClock()
"""The clock of the state Redis, as this process heard it in answers to admissions and settlements."""
