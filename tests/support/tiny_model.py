"""A small model whose every answer a test can tell, run by the real worker behind the real Redis list.

Batches are encoded and decoded as for Celery and handed to a thread that runs :class:`inference.worker.process.Worker`; only
the broker and the weights are left out. ``tests/support/live_worker.py`` has the demo models in place of this one.
"""

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from inference.batching import current
from inference.batching.messages import BatchMessage, decode_batch, encode_batch
from inference.batching.transport import CeleryTransport
from inference.engine import works
from inference.models import MLModel, ModelVersion, VersionState
from inference.registry import versions
from inference.runtimes.loading import CheckedRuntime
from inference.runtimes.protocol import Array, Input, Read, RuntimeSpec
from inference.types import REFUSE, Priority, TextLength
from inference.worker import process as worker_module
from inference.worker.loaded_models import key_of
from inference.worker.process import Worker
from mlplatform.lib import clock
from tenants.models import Tenant
from tests.support.reporting import ReportsAtOnce

logger = logging.getLogger(__name__)

POISON = "poison"


def make_version(
    name: str = "tiny",
    version: str = "1.0.0",
    state: str = VersionState.LIVE,
    *,
    digest: str = "",
    owner: Tenant | None = None,
    **fields: Any,
) -> ModelVersion:
    """A row of a text classifier with the labels yes and no. Its model is that of ``owner``, without one that on sale, else any
    of the name; it is made where there is none."""
    models = MLModel.objects.filter(name=name)
    model = models.filter(owner=owner).first() or (models.first() if owner is None else None)
    if model is None:
        model = MLModel.objects.create(name=name, owner=owner)
    made = ModelVersion.objects.create(
        model=model,
        version=version,
        state=state,
        sha256=digest or f"{ModelVersion.objects.count() + 1:064x}",
        **{
            "runtime": "text-classification",
            "artefact_path": f"{name}/{version}",
            "input_schema": {"kind": "text", "max_chars": 100},
            "output_schema": {"kind": "classification"},
            "labels": ["yes", "no"],
            "max_batch_size": 8,
            "ready_since": None if state == VersionState.STAGED else clock.now(),
            **fields,
        },
    )
    versions.forget()
    return made


def share_of(text: str) -> float:
    """What the model says of a text for ``yes``."""
    return len(text) / 128


@dataclass
class TinyRuntime:
    """Knows what it was asked; a poisoned input raises; ``go`` can hold every batch back."""

    spec: RuntimeSpec
    go: threading.Event
    computed: list[str] = field(default_factory=list)

    def load(self, spec: RuntimeSpec) -> None: ...

    def warmup(self) -> None: ...

    def forward(self, inputs: Sequence[Input]) -> Array:
        assert self.go.wait(30)
        if any(isinstance(text, str) and text == POISON for text in inputs):
            raise ValueError("this input is poison")
        self.computed.extend(str(text) for text in inputs)
        shares = np.array([share_of(str(text)) for text in inputs], dtype=np.float32)
        columns = [shares, 1 - shares] + [shares] * (self.spec.outputs - 2)
        return np.stack(columns, axis=1)


@dataclass
class WordRuntime(TinyRuntime):
    """Has a token for each word and two special ones around them, of which it reads ``max_tokens``: the text's beginning."""

    max_tokens: int = 8

    def read(self, inputs: Sequence[Input], truncate: Sequence[int]) -> list[Read]:
        return [self._read(str(text), may) for text, may in zip(inputs, truncate, strict=True)]

    def _read(self, text: str, truncate: int) -> Read:
        words = text.split()
        most = truncate if truncate > 0 else self.max_tokens
        if len(words) + 2 <= most:
            return Read(text)
        length = TextLength(len(words) + 2, most)
        return Read(None if truncate == REFUSE else " ".join(words[: most - 2]), length)


@dataclass
class TinyWorker:
    """The worker, what it was sent, and how to stop it from answering."""

    worker: Worker
    go: threading.Event = field(default_factory=threading.Event)
    batches: list[BatchMessage] = field(default_factory=list)
    runtimes: dict[str, TinyRuntime] = field(default_factory=dict)
    lose: int = 0
    _queue: "queue.SimpleQueue[str | threading.Event | None]" = field(default_factory=queue.SimpleQueue)

    def serve(self, version: ModelVersion, *, max_tokens: int = 0) -> TinyRuntime:
        """Have the worker hold this version in memory, as one that reads so many tokens if they are given."""
        spec = self.worker.spec(version)
        runtime = WordRuntime(spec, self.go, max_tokens=max_tokens) if max_tokens else TinyRuntime(spec, self.go)
        self.runtimes[version.sha256] = runtime
        self.worker.models.put(key_of(version.pk, version.sha256), CheckedRuntime(spec, runtime))
        return runtime

    def hand_over(self, message: BatchMessage) -> None:
        self.batches.append(message)
        if self.lose > 0:
            self.lose -= 1
        else:
            self._queue.put(encode_batch(message))

    def run(self) -> None:
        while (text := self._queue.get()) is not None:
            if isinstance(text, threading.Event):
                text.set()
                continue
            try:
                self.worker.run_batch(decode_batch(text))
            except Exception:
                # As Celery does: the batch has no reply.
                logger.exception("a batch failed")

    def catch_up(self) -> None:
        """Wait until it has run what it was handed before."""
        done = threading.Event()
        self._queue.put(done)
        assert done.wait(30)

    def end(self) -> None:
        self.go.set()
        self._queue.put(None)

    @property
    def computed(self) -> list[str]:
        """Every text that any version computed."""
        return [text for runtime in self.runtimes.values() for text in runtime.computed]


@pytest.fixture
def tiny_worker(db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[TinyWorker]:
    """A worker that answers this process's batches with the versions that it is told to serve."""
    # The rows are those of the test's open transaction, which another thread cannot read and must not end.
    monkeypatch.setattr(worker_module, "close_old_connections", lambda: None)
    tiny = TinyWorker(Worker(reporter=ReportsAtOnce()))
    tiny.go.set()

    class ToThisProcess(CeleryTransport):
        def send(
            self, message: BatchMessage, *, pool: str, priority: Priority, failed: Callable[[Exception], None]
        ) -> None:
            tiny.hand_over(message)

    monkeypatch.setattr(current, "CeleryTransport", ToThisProcess)
    thread = threading.Thread(target=tiny.run, name="tiny-worker", daemon=True)
    thread.start()
    yield tiny
    works.forget()
    tiny.end()
    thread.join(timeout=30)
