"""The clockwork's look at every tenant: holds of processes that died end, also where no call comes any more, and marks go.

The keys that order holds and marks are found by SCAN: they exist only for tenants that had calls within the last minutes.
"""

from collections.abc import Iterable
from typing import Final

import redis
from prometheus_client import Counter

from billing.admission import connection, keys, scripts
from mlplatform.lib.redis import state

_ended = Counter("mlplatform_holds_swept_total", "Holds that no process ended in time, given back by the clockwork.")

SEEN: Final = "admission:swept-at"
"""When the clockwork looked last: the server's clock, in microseconds."""
_SEEN_TTL_S: Final = 86_400
_APART_S: Final = 10
_MOST: Final = 250
RUNS_A_LOOK: Final = 2_000
_PAGE: Final = 1_000
_MICRO: Final = 1_000_000


def sweep(*, client: redis.Redis | None = None) -> tuple[int, int]:
    """End the holds whose time is over and drop old marks; the answer is how many of each.

    Each script run ends at most 250 of each; after 2,000 runs the rest is left to the next look. A mark goes when it was
    due at the last look already, 10 seconds ago or more: while the server stood still nothing was looked at, so what came
    due meanwhile is kept that long, for calls that were told "nothing was charged" and must be taken back. Raises what
    redis-py raises.
    """
    client = client or state()
    last_us = _look(client)
    ended = dropped = runs = 0
    for shard, tenant_id in _tenants(client):
        more = True
        while more and runs < RUNS_A_LOOK:
            names = keys.of_tenant(shard, tenant_id)
            answer = connection.run(client, scripts.SWEEP, names, (b"%d" % last_us, b"%d" % _MOST))
            ended, dropped, runs = ended + answer[0], dropped + answer[1], runs + 1
            more = max(answer) >= _MOST
    _ended.inc(ended)
    return ended, dropped


def _look(client: redis.Redis) -> int:
    """Note this look; the answer is the moment of the last one, 0 for the first and for one that comes too soon after it."""
    seconds, rest = client.time()
    now, last = seconds * _MICRO + rest, int(client.get(SEEN) or 0)
    if 0 <= now - last < _APART_S * _MICRO:
        return 0
    client.set(SEEN, now, ex=_SEEN_TTL_S)
    return last


def _tenants(client: redis.Redis) -> Iterable[tuple[int, int]]:
    found: set[tuple[int, int]] = set()
    for name in client.scan_iter(match=keys.INDEXES, count=_PAGE, _type="zset"):
        tenant = keys.tenant_of_index(name)
        if tenant is not None:
            found.add(tenant)
    return sorted(found)
