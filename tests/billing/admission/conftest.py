"""A Redis of its own for the tests of admission, because they stop, freeze and walk it."""

from collections.abc import Iterator

import pytest

from tests.billing.admission.world import World, walked_clock
from tests.support.redis_server import RedisServer


@pytest.fixture(scope="session")
def server() -> Iterator[RedisServer]:
    """A state server that no test of this folder may leave stopped."""
    with RedisServer() as running:
        yield running


@pytest.fixture
def world(server: RedisServer) -> Iterator[World]:
    """Acme at START, on a clock that stands still until the test walks it."""
    with walked_clock(), server.client() as client:
        yield World(client)
