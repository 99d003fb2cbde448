"""How many calls of each tenant limits refused lately."""

from collections.abc import Iterable
from itertools import islice
from typing import Final

import redis

from billing.admission import keys
from billing.admission.failures import closed_on_failure
from mlplatform.lib.redis import state

_MICRO: Final = 1_000_000
_AT_ONCE: Final = 500


def count_refused(
    *, tenants: Iterable[tuple[int, int]], within_s: int, client: redis.Redis | None = None
) -> dict[int, int]:
    """Refused calls within so many seconds, at most a day, by tenant; tenants without any are left out.

    ``tenants`` are pairs of shard and tenant id. A tenant's last 10,000 refusals are kept. Raises UNAVAILABLE when Redis fails.
    """
    found: dict[int, int] = {}
    rest = iter(tenants)
    with closed_on_failure():
        client = client or state()
        since = client.time()[0] * _MICRO - within_s * _MICRO
        while some := list(islice(rest, _AT_ONCE)):
            pipe = client.pipeline(transaction=False)
            for shard, tenant_id in some:
                pipe.zcount(keys.refusals_in_order(shard, tenant_id), f"({since}", "+inf")
            found.update((tenant_id, n) for (_, tenant_id), n in zip(some, pipe.execute(), strict=True) if n)
    return found
