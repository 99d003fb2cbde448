"""How many workers each tenant kept busy lately, from which follows how many are left to another one."""

import math
from dataclasses import dataclass
from typing import Final

_MEMORY_S: Final = 2.0
"""What was served fades by a factor of e in this time: long enough for tenants that ask a few times a second, short enough to
follow one that stops."""

_GONE_S: Final = 10 * _MEMORY_S
_MOST: Final = 1_000
"""Tenants that are remembered before those that are gone are forgotten."""


@dataclass(slots=True)
class _Faded:
    """Seconds of a worker, of which the older ones count less; ``at`` is when it was last brought up to date."""

    seconds: float = 0.0
    at: float = 0.0

    def now(self, now: float) -> float:
        return self.seconds * math.exp((self.at - now) / _MEMORY_S)

    def add(self, seconds: float, now: float) -> None:
        self.seconds = self.now(now) + seconds
        self.at = now


class Served:
    """Of one pool of workers. Times are on the monotonic clock."""

    def __init__(self) -> None:
        self._all = _Faded()
        self._tenants: dict[int, _Faded] = {}

    def add(self, seconds: dict[int, float], now: float) -> None:
        """A batch came back, in which each tenant got so many seconds of a worker."""
        if len(self._tenants) >= _MOST:
            self._tenants = {tenant: each for tenant, each in self._tenants.items() if now - each.at < _GONE_S}
        for tenant_id, got in seconds.items():
            self._tenants.setdefault(tenant_id, _Faded()).add(got, now)
            self._all.add(got, now)

    def busy_for_others(self, tenant_id: int, now: float) -> float:
        """How many workers, on average, compute for tenants other than this one."""
        own = self._tenants.get(tenant_id)
        return max(0.0, self._all.now(now) - (own.now(now) if own is not None else 0.0)) / _MEMORY_S
