"""How many calls of this process may wait for a worker at the same time, shared fairly over tenants.

A call that waits holds a thread. If all threads waited, cached answers, refusals and health checks would queue behind them, in
the order of their arrival. So some threads are always left free, and a tenant above its share is refused while other tenants
call: at once and uncharged.
"""

from functools import lru_cache
from typing import Final

from django.conf import settings
from prometheus_client import Counter, Gauge

from mlplatform.lib.errors import ErrorKind, PlatformError

_LEFT_FOR_OTHERS: Final = 0.25

WAITING = Gauge("mlplatform_calls_waiting", "Calls that wait for a worker.", multiprocess_mode="livesum")
_refused = Counter("mlplatform_calls_refused_total", "Calls refused because too many wait for a worker.")


class Permits:
    """Places for calls that wait, ``total`` of them; the last quarter is for tenants below their share.

    They belong to the event loop's thread.
    """

    def __init__(self, total: int) -> None:
        self.total = max(1, total)
        self._free_for_all = max(1, int(self.total * (1 - _LEFT_FOR_OTHERS)))
        self._used = 0
        self._taken: dict[int, int] = {}
        self._weights: dict[int, int] = {}

    def take(self, tenant_id: int, *, weight: int) -> None:
        """One place until :meth:`give`. Raises OVERLOADED where there is none for this tenant."""
        if not self._may(tenant_id, weight):
            _refused.inc()
            raise PlatformError(
                ErrorKind.OVERLOADED,
                "As many calls as can be answered soon wait already; nothing was charged.",
                retry_after_s=1.0,
            )
        self._used += 1
        self._taken[tenant_id] = self._taken.get(tenant_id, 0) + 1
        self._weights[tenant_id] = weight
        WAITING.set(self._used)

    def give(self, tenant_id: int) -> None:
        """The call waits no longer."""
        self._used -= 1
        self._taken[tenant_id] -= 1
        if not self._taken[tenant_id]:
            del self._taken[tenant_id], self._weights[tenant_id]
        WAITING.set(self._used)

    def _may(self, tenant_id: int, weight: int) -> bool:
        if self._used < self._free_for_all:
            return True
        # Count one extra tenant, so that a lone tenant leaves permits for the next.
        weights = sum({**self._weights, tenant_id: weight}.values()) + 1
        share = max(1.0, self.total * weight / weights)
        return self._used < self.total and self._taken.get(tenant_id, 0) < share


@lru_cache(maxsize=1)
def permits() -> Permits:
    """Those of this process."""
    return Permits(settings.MAX_WAITING_CALLS)
