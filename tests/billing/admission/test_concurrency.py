"""64 clients at once, on the server's own clock."""

import itertools
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from billing.admission import Limit, LimitKind
from tests.billing.admission.world import World, limit
from tests.support.redis_server import RedisServer

CLIENTS = 64
LIMIT = 500
COSTS = (1, 1, 2, 3, 5, 7, 10, 25)


@pytest.mark.parametrize(
    "rule",
    [
        limit(LimitKind.TOKEN_BUCKET, LIMIT, rate=1e-6),
        limit(LimitKind.FIXED_WINDOW, LIMIT, window_s=10**9),
        limit(LimitKind.SLIDING_WINDOW, LIMIT, window_s=3600),
        limit(LimitKind.MONTHLY, LIMIT),
        limit(LimitKind.CONCURRENCY, LIMIT),
    ],
    ids=lambda rule: str(rule.kind),
)
def test_64_clients_with_mixed_costs_are_granted_exactly_500_units(server: RedisServer, rule: Limit) -> None:
    with server.client() as client, ThreadPoolExecutor(CLIENTS) as pool:
        world = World(client)
        world.at(0)
        start = threading.Barrier(CLIENTS)

        def spend(seed: int) -> int:
            """Ask for mixed costs, then for single units until there are none; returns what was granted."""
            costs = random.Random(seed).choices(COSTS, k=8)
            start.wait()
            granted = sum(cost for cost in costs if world.admit([rule], cost, ttl_s=3600.0).granted)
            return granted + sum(1 for _ in itertools.takewhile(bool, (take_one() for _ in itertools.count())))

        def take_one() -> bool:
            return world.admit([rule], 1, ttl_s=3600.0).granted

        granted = list(pool.map(spend, range(CLIENTS)))
        assert sum(granted) == LIMIT
        assert world.remaining(rule) == [0]
        held = world.holds()
        assert world.release(*held) == len(held)
        assert world.remaining(rule) == [LIMIT]


def test_64_clients_that_settle_one_batch_charge_it_once(server: RedisServer) -> None:
    rule = limit(LimitKind.MONTHLY, LIMIT)
    with server.client() as client, ThreadPoolExecutor(CLIENTS) as pool:
        world = World(client)
        ids = world.admit([rule], *[5] * 20, ttl_s=3600.0).hold_ids
        answers = list(pool.map(lambda _: world.settle(*ids), range(CLIENTS)))
        assert sorted(itertools.chain(*answers)) == [1] * len(ids) + [2] * len(ids) * (CLIENTS - 1)
        assert sorted(world.usage()) == sorted((name, 5) for name in ids)
        assert world.remaining(rule) == [LIMIT - 100]
