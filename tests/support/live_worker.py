"""A real worker in the test process: the demo models are registered, loaded once, and run every batch that is sent.

Only the broker is left out: a batch is encoded and decoded as for Celery, handed to a thread that runs the real
:class:`inference.worker.process.Worker`, and its reply comes back through the real Redis list. Tests of real worker processes
stand elsewhere.
"""

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from django.forms.models import model_to_dict

from inference.batching import current
from inference.batching.messages import BatchMessage, decode_batch, encode_batch
from inference.batching.transport import CeleryTransport
from inference.demo import registration
from inference.engine import works
from inference.models import MLModel, ModelVersion
from inference.registry import versions as model_versions
from inference.runtimes.loading import CheckedRuntime
from inference.types import Priority
from inference.worker import process as worker_module
from inference.worker.loaded_models import key_of
from inference.worker.process import Worker
from tests.support.reporting import ReportsAtOnce

_rows: list[tuple[MLModel, list[ModelVersion]]] = []
_workers: list[Worker] = []
_loaded: dict[tuple[str, str, str], CheckedRuntime] = {}


@pytest.fixture
def demo_models(db: None) -> None:
    """The rows of every demo model; artefacts are put together once for a test process."""
    if not _rows:
        list(registration.install())
        _rows.extend((model, list(model.versions.all())) for model in MLModel.objects.all())
    elif not MLModel.objects.exists():
        for model, versions in _rows:
            copy = MLModel.objects.create(**_fields(model))
            ModelVersion.objects.bulk_create(
                ModelVersion(
                    **_fields(version) | {"model": copy, "state": version.state, "live_since": version.live_since}
                )
                for version in versions
            )
    model_versions.forget()


def _fields(row: MLModel | ModelVersion) -> dict[str, object]:
    return {name: value for name, value in model_to_dict(row).items() if name not in {"id", "model"}}


@dataclass
class LiveWorker:
    """The worker and what it was given: ``batches`` in the order in which they came."""

    worker: Worker
    batches: list[BatchMessage] = field(default_factory=list)
    _queue: "queue.SimpleQueue[str | None]" = field(default_factory=queue.SimpleQueue)

    def hand_over(self, message: BatchMessage) -> None:
        self.batches.append(message)
        self._queue.put(encode_batch(message))

    def run(self) -> None:
        while (text := self._queue.get()) is not None:
            self.worker.run_batch(decode_batch(text))

    def stop(self) -> None:
        self._queue.put(None)

    @property
    def inputs(self) -> int:
        """How many inputs were computed, not answered from a cache."""
        return sum(len(batch.items) for batch in self.batches)


def _hold(worker: Worker, version: ModelVersion) -> None:
    """Loaded once for a test process: rows of the next test may have new ids (PostgreSQL gives none twice)."""
    name = (version.model.name, version.version, version.sha256)
    if name in _loaded:
        worker.models.put(key_of(version.pk, version.sha256), _loaded[name])
    else:
        _loaded[name] = worker.models.get(version).runtime


@pytest.fixture
def live_worker(demo_models: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveWorker]:
    """A worker with every demo model loaded, which answers the batches of this process and says that it lives."""
    if not _workers:
        _workers.append(Worker(reporter=ReportsAtOnce()))
    live = LiveWorker(_workers[0])
    # Loaded here, for another thread could not read the rows of the test's open transaction; and that transaction
    # must not be ended by the worker's care for connections that grew old.
    monkeypatch.setattr(worker_module, "close_old_connections", lambda: None)
    for version in ModelVersion.objects.select_related("model"):
        _hold(live.worker, version)
    live.worker.heartbeat.beat()

    class ToThisProcess(CeleryTransport):
        def send(
            self, message: BatchMessage, *, pool: str, priority: Priority, failed: Callable[[Exception], None]
        ) -> None:
            live.hand_over(message)

    monkeypatch.setattr(current, "CeleryTransport", ToThisProcess)
    thread = threading.Thread(target=live.run, name="live-worker", daemon=True)
    thread.start()
    yield live
    works.forget()
    live.stop()
    thread.join(timeout=30)
