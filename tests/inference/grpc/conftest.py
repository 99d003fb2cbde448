"""The server, the worker with tiny models, and callers, for the tests of this folder."""

from collections.abc import Iterator

import pytest

from inference.models import ModelVersion
from tests.conftest import Customer
from tests.support.grpc import Grpc, grpc_server, grpc_target
from tests.support.tiny_model import TinyWorker, make_version, tiny_worker

__all__ = ["grpc_server", "grpc_target", "tiny_worker"]


@pytest.fixture
def tiny(tiny_worker: TinyWorker) -> ModelVersion:
    """The text model ``tiny`` and two that take numbers: ``grid`` (2 by 3, -10 to 10) with labels, ``vector`` without."""
    version = make_version()
    grid = make_version(
        "grid",
        runtime="tensor-classification",
        input_schema={"kind": "tensor", "dtype": "float32", "shape": [2, 3], "minimum": -10, "maximum": 10},
    )
    vector = make_version(
        "vector",
        runtime="text-embedding",
        labels=[],
        output_schema={"kind": "embedding", "dimensions": 4},
        input_schema={"kind": "tensor", "dtype": "float32", "shape": [4]},
    )
    for one in (version, grid, vector):
        tiny_worker.serve(one)
    return version


@pytest.fixture
def api(grpc_target: str, acme: Customer, prices: None, tiny: ModelVersion) -> Iterator[Grpc]:
    """Calls of acme."""
    with Grpc(grpc_target, acme) as api:
        yield api
