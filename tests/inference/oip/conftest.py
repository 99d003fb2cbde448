"""The real worker with the demo models, and a tiny one that serves ``tiny``, for the calls of these tests."""

import pytest

from tests.support.live_worker import demo_models, live_worker
from tests.support.tiny_model import TinyWorker, make_version, tiny_worker

__all__ = ["demo_models", "live_worker", "tiny_worker"]


@pytest.fixture
def tiny(tiny_worker: TinyWorker) -> TinyWorker:
    tiny_worker.serve(make_version())
    return tiny_worker
