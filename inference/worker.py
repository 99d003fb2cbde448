"""What a GPU worker does with a batch: compute, keep the answers, settle the holds, reply. Runs in Celery's ``gpu`` queue."""

import logging
from collections import OrderedDict
from typing import Final

import numpy as np
import numpy.typing as npt
from django.conf import settings
from django.db import close_old_connections
from prometheus_client import Counter, Histogram

from inference import cache, canonical, registry
from inference.batching.messages import BatchMessage, BatchReply, ItemMessage
from inference.batching.settlement import settle_and_reply
from inference.models import ModelVersion, VersionState
from inference.runtimes import devices, loading
from inference.runtimes.protocol import Input, RuntimeSpec
from inference.workers import Heartbeat
from mlplatform.lib import clock

logger = logging.getLogger(__name__)

_MAX_LOADED: Final = 16

_inputs = Counter("mlplatform_worker_inputs_total", "Inputs that workers computed.", ["model"])
_forward_seconds = Histogram("mlplatform_worker_forward_seconds", "The model's own time for a batch.", ["model"])
_skipped = Counter("mlplatform_worker_batches_skipped_total", "Batches for which nobody waited any more.")
_poisoned = Counter("mlplatform_worker_inputs_failed_total", "Inputs on which a model failed.", ["model"])


class Worker:
    """The loaded models of one worker process and its heartbeat. One thread runs batches: ``-P solo``."""

    def __init__(self) -> None:
        self.device = devices.resolve(settings.WORKER_DEVICE)
        self.heartbeat = Heartbeat(queue="gpu", device=self.device)
        self._loaded: OrderedDict[str, loading.CheckedRuntime] = OrderedDict()

    def start(self) -> None:
        """Load and warm every live version, then say that this worker is there."""
        devices.configure_threads(settings.WORKER_TORCH_THREADS)
        for version in ModelVersion.objects.select_related("model").filter(state=VersionState.LIVE):
            try:
                self._runtime(version.pk, version.sha256)
            except Exception:
                logger.exception("%s could not be loaded; the worker serves the others", version)
        self.heartbeat.start()

    def run_batch(self, message: BatchMessage) -> None:
        """Compute a batch and reply; any failure of the model is a reply too, so that nobody waits in vain."""
        if message.deadline <= clock.now().timestamp():
            _skipped.inc()
            return
        try:
            results = self._compute(message)
            error = ""
        except Exception as failure:
            logger.exception("batch %s of version %s failed", message.batch_id, message.version_id)
            results, error = [None] * len(message.items), f"{type(failure).__name__}: {failure}"[:300]
        self._keep(message, results)
        reply = BatchReply(batch_id=message.batch_id, worker=self.heartbeat.name, results=results, error=error)
        done = [item for item, scores in zip(message.items, results, strict=True) if scores is not None]
        settle_and_reply(reply_to=message.reply_to, reply=reply, done=done)
        self.heartbeat.batches += 1

    def verify(self, version_id: int) -> None:
        """Load and warm a version and report the verdict to the registry."""
        version = ModelVersion.objects.select_related("model").get(pk=version_id)
        try:
            self._runtime(version.pk, version.sha256)
        except Exception as failure:
            logger.exception("%s could not be verified", version)
            registry.mark_verified(version_id=version_id, error=f"{type(failure).__name__}: {failure}")
        else:
            registry.mark_verified(version_id=version_id, error="")

    def _compute(self, message: BatchMessage) -> list[bytes | None]:
        runtime = self._runtime(message.version_id, message.digest)
        inputs = [_decode(item) for item in message.items]
        name = runtime.spec.name
        with _forward_seconds.labels(name).time():
            try:
                rows: list[npt.NDArray[np.float32] | None] = list(runtime.run(inputs))
            except Exception:
                if len(inputs) == 1:
                    raise
                # One bad input must not fail its neighbours, who may be other customers.
                logger.exception("a batch of %s failed; its inputs are tried one by one", name)
                rows = [self._run_alone(runtime, single) for single in inputs]
        _inputs.labels(name).inc(len(inputs))
        return [None if row is None else row.astype("<f4", copy=False).tobytes() for row in rows]

    @staticmethod
    def _run_alone(runtime: loading.CheckedRuntime, single: Input) -> npt.NDArray[np.float32] | None:
        try:
            row: npt.NDArray[np.float32] = runtime.run([single])[0]
        except Exception:
            logger.exception("%s failed on an input", runtime.spec.name)
            _poisoned.labels(runtime.spec.name).inc()
            return None
        return row

    @staticmethod
    def _keep(message: BatchMessage, results: list[bytes | None]) -> None:
        entries = {
            item.cache_key: scores
            for item, scores in zip(message.items, results, strict=True)
            if scores is not None and item.cache_key
        }
        cache.put_remote(entries, ttl_s=message.cache_ttl_s)

    def _runtime(self, version_id: int, digest: str) -> loading.CheckedRuntime:
        """The loaded version, from memory or from its verified artefact; the least recently used one makes room."""
        runtime = self._loaded.get(digest)
        if runtime is None:
            close_old_connections()
            version = ModelVersion.objects.select_related("model").get(pk=version_id)
            if version.sha256 != digest:
                raise LookupError(f"{version} has another artefact now than the batch was made for")
            runtime = self._loaded[digest] = loading.load(self._spec(version))
            while len(self._loaded) > _MAX_LOADED:
                self._loaded.popitem(last=False)
            self.heartbeat.models = sorted(f"{r.spec.name}@{r.spec.version}" for r in self._loaded.values())
        self._loaded.move_to_end(digest)
        return runtime

    def _spec(self, version: ModelVersion) -> RuntimeSpec:
        ref = registry.reference(version)
        return RuntimeSpec(
            name=ref.name,
            version=ref.version,
            runtime=ref.runtime,
            artefact=registry.artefact_folder(version),
            digest=ref.digest,
            outputs=ref.outputs,
            input_schema=ref.input_schema,
            max_batch_size=ref.max_batch_size,
            device=self.device if version.device == "auto" else version.device,
            precision=version.precision,
            acceleration=version.acceleration,
            options=version.card.get("runtime", {}),
        )


def _decode(item: ItemMessage) -> Input:
    decoded = canonical.decode(item.payload)
    if isinstance(decoded, str):
        return decoded
    shape, values = decoded
    return np.frombuffer(values, dtype="<f4").reshape(shape)
