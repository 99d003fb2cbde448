"""The worker with a tiny model, and prices under which a query's own points are free, so that charges are predictions'."""

import pytest

from billing.models import Price
from tests.support.tiny_model import TinyWorker, make_version, tiny_worker

__all__ = ["free_queries", "tiny", "tiny_worker"]


@pytest.fixture
def free_queries(prices: None) -> None:
    """Points of queries cost nothing."""
    Price.objects.create(operation="graphql", per_input=0)


@pytest.fixture
def tiny(tiny_worker: TinyWorker, free_queries: None) -> TinyWorker:
    """The model ``tiny`` is live and served."""
    tiny_worker.serve(make_version())
    return tiny_worker
