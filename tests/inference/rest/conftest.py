"""A real worker for the calls of these tests, each of which is made on both ways to the handlers."""

import pytest

from tests.support.live_worker import demo_models, live_worker
from tests.support.rest import both_ways

__all__ = ["both_ways", "demo_models", "live_worker", "on_both_ways"]


@pytest.fixture(autouse=True)
def on_both_ways(both_ways: str) -> None:
    """Every test of this folder."""
