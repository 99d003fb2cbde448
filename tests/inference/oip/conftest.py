"""The real worker with the demo models, and a tiny one that serves ``tiny``, for the calls of these tests."""

import threading
from collections.abc import Iterator

import pytest

from tests.support.live_worker import LiveWorker, demo_models, live_worker
from tests.support.tiny_model import TinyWorker, make_version, tiny_worker

__all__ = ["demo_models", "live_worker", "tiny_worker"]


@pytest.fixture
def tiny(tiny_worker: TinyWorker) -> TinyWorker:
    tiny_worker.serve(make_version())
    return tiny_worker


@pytest.fixture
def ready_worker(live_worker: LiveWorker) -> Iterator[LiveWorker]:
    """A worker that goes on saying that it lives: the client takes longer to start than one such word lasts."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(1):
            live_worker.worker.heartbeat.beat()

    thread = threading.Thread(target=beat, name="heartbeat")
    thread.start()
    yield live_worker
    over.set()
    thread.join()
