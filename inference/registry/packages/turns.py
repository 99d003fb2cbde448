"""How often and how many at once a tenant may push: each push is checked by a process of its own and loaded by a worker.

Operators are not counted. The counters live in the state Redis; while it is away pushes are refused, and nothing could be staged.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from redis.exceptions import LockError

from billing import quotas
from mlplatform.lib import rates, redis
from mlplatform.lib.errors import ErrorKind, PlatformError, unavailable

_GROUP: Final = "inference.pushes"
_LONGEST_S: Final = 900
"""As long as a large zip over a slow line and its check may take; then a push whose process was killed is forgotten."""
_COME_AGAIN_S: Final = 5.0
_AWAY: Final = "Packages cannot be taken at the moment; nothing was stored. Please try again shortly."


@contextmanager
def turn(tenant_id: int) -> Iterator[None]:
    """One push of the tenant, for as long as the block runs; it counts whatever becomes of it.

    Raises TOO_MANY_ATTEMPTS, which says when to come again, while another push of the tenant runs or when the tenant has
    pushed as often as its plan or the platform allows, and UNAVAILABLE where that cannot be counted.
    """
    lock = redis.state().lock(f"pushing:{tenant_id}", timeout=_LONGEST_S, blocking=False, thread_local=False)
    try:
        if not lock.acquire():
            raise PlatformError(
                ErrorKind.TOO_MANY_ATTEMPTS,
                "Another package of this tenant is being checked; nothing was stored. Push one after the other.",
                retry_after_s=_COME_AGAIN_S,
            )
    except redis.FAILURES as error:
        raise unavailable(_AWAY) from error
    try:
        _count(tenant_id)
        yield
    finally:
        with suppress(LockError, *redis.FAILURES):
            lock.release()


def pushed(tenant_id: int, *, rate: str) -> int:
    """How often the tenant has pushed in the running window of its rate. Raises UNAVAILABLE where that cannot be told."""
    return rates.used(group=_GROUP, key=str(tenant_id), rate=rate)


def _count(tenant_id: int) -> None:
    rate = quotas.of_models(tenant_id=tenant_id).push_rate
    wait_s = rates.wait_s(group=_GROUP, key=str(tenant_id), rate=rate, uncounted=_AWAY)
    if not wait_s:
        return
    raise PlatformError(
        ErrorKind.TOO_MANY_ATTEMPTS,
        f"This tenant may push {rate.replace('/', ' packages per ', 1)}; nothing was stored. Please wait, "
        "or ask for a larger plan.",
        retry_after_s=wait_s,
    )
