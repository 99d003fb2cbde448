"""What a model worker does: it computes batches, prepares models beside that, and tells what it holds.

Three threads: Celery's runs :meth:`Worker.run_batch` (``-P solo``), one settles and answers what was computed, one loads what
the live versions. The parts stand in ``inference.worker``.
"""

import logging
from collections.abc import Sequence
from typing import Final

from django.conf import settings
from django.db import close_old_connections
from prometheus_client import Counter

from inference.batching.messages import TOO_LATE, BatchMessage, BatchReply
from inference.fleet.workers import Heartbeat
from inference.isolation.isolated import LimitBroken
from inference.models import ModelVersion
from inference.registry import versions
from inference.registry.artefacts import ArtefactError
from inference.registry.packages import card, storage
from inference.runtimes import devices, examples, memory
from inference.runtimes.protocol import RuntimeFault, RuntimeSpec
from inference.types import DEFAULT_POOL, ModelRef
from inference.worker import executor, worker_name
from inference.worker.loaded_models import Loaded, LoadedModels, key_of
from inference.worker.model_loader import Preparer, standing_by, wanted
from inference.worker.reporter import Report, Reporter, ReportingThread
from inference.worker.settlement import Settling
from inference.worker.shares import NoRoom, OverQuota
from mlplatform.lib import clock, redis

logger = logging.getLogger(__name__)

_TRY_AGAIN_S: Final = 60.0

_skipped = Counter("mlplatform_worker_batches_skipped_total", "Batches for which no call waited any more.")


class Worker:
    """One process on one device. Its pools are the Celery queues that it consumes."""

    def __init__(self, *, pools: Sequence[str] = (DEFAULT_POOL,), reporter: Reporter | None = None) -> None:
        self.device = devices.resolve(settings.WORKER_DEVICE)
        self.pools = tuple(pools)
        self.models = LoadedModels(
            device=self.device,
            budget_bytes=memory.budget(self.device, limit_mb=settings.WORKER_MEMORY_MB),
            spec_of=self.spec,
        )
        self.heartbeat = Heartbeat(queue=self.pools[0], device=self.device, pools=self.pools)
        self.heartbeat.memory_limit_bytes = self.models.budget_bytes
        self.heartbeat.loaded = self.models.report
        self._reporter: Reporter = reporter or ReportingThread()
        self._preparer = Preparer(prepare=self.prepare, verify=self.verify)
        self._not_before: dict[str, float] = {}

    def start(self) -> None:
        """Load and warm what is wanted, then say that this worker is there."""
        devices.configure_threads(settings.WORKER_TORCH_THREADS)
        memory.keep_freed()
        self.heartbeat.name = worker_name.claim(self.pools[0])
        self.prepare(with_standby=False)
        self.heartbeat.start()
        self._preparer.start()

    def stop(self) -> None:
        """Leave in good order: what was computed is answered, and what was not verified is left to another worker."""
        self._reporter.close()
        try:
            for version_id in self._preparer.close():
                versions.request_verification(
                    version=ModelVersion.objects.select_related("model__owner").get(pk=version_id)
                )
        finally:
            self.heartbeat.end()

    def run_batch(self, message: BatchMessage) -> None:
        """Compute a batch and have it answered; any failure of the model is a reply too, so that no call waits in vain."""
        if message.deadline <= clock.now().timestamp():
            # Reply even when late; otherwise the sender counts this batch as in flight.
            _skipped.inc()
            nothing: list[bytes | None] = [None] * len(message.items)
            self._reporter.hand_over(self._report(message, executor.BatchOutcome(nothing, error=TOO_LATE)))
            return
        began = clock.monotonic()
        loaded = computed = None
        settling = Settling.of(message.items)
        try:
            loaded = self._find(message.version_id, message.digest)
            with loaded.one_at_a_time:
                outcome = computed = executor.compute(loaded.runtime, message.items)
        except Exception as failure:
            logger.exception("batch %s of version %s failed", message.batch_id, message.version_id)
            outcome = executor.failed(message.items, failure)
            outcome.limit_broken = str(failure) if isinstance(failure, LimitBroken) else ""
            outcome.refusal = str(failure) if isinstance(failure, OverQuota) else ""
        self._reporter.hand_over(self._report(message, outcome, settling))
        seconds = clock.monotonic() - began
        if loaded is not None:
            if computed is not None:
                executor.count(loaded.runtime, computed)
            loaded.note(outcome.compute_s)
        self.heartbeat.note(seconds)
        if outcome.limit_broken:
            self._note_broken_limit(message.version_id, outcome.limit_broken)

    def prepare(self, *, with_standby: bool = True) -> None:
        """Load and warm the live versions of this worker's pools, then what stands by, where there is room.

        What does not load is tried again in a minute.
        """
        refs = {key_of(ref.version_id, ref.digest): ref for ref in wanted(self.pools)}
        standby = {key_of(ref.version_id, ref.digest): ref for ref in standing_by(self.pools)}
        self.models.want(refs, standby=standby)
        # Wanted ones first: a key that is in both keeps its place.
        for key, ref in (refs | standby if with_standby else refs).items():
            if not self.models.holds(key) and clock.monotonic() >= self._not_before.get(key, 0.0):
                self._prepare_one(key, ref)

    def verify(self, version_id: int) -> None:
        """Load and warm a version, run its examples, and report the verdict to the registry."""
        version = ModelVersion.objects.select_related("model__owner").get(pk=version_id)
        try:
            loaded = self.models.get(version, again=True)
            if version.card:
                with loaded.one_at_a_time:
                    examples.check(loaded.runtime, card.parse(version.card), loaded.runtime.spec.artefact)
        except BaseException as failure:
            # Whatever it was: a version without a verdict would stay staged without a word.
            logger.exception("%s could not be verified", version)
            versions.mark_verified(
                version_id=version_id,
                error=f"{type(failure).__name__}: {failure}",
                for_good=isinstance(failure, RuntimeFault | ArtefactError) and not isinstance(failure, NoRoom),
            )
            if not isinstance(failure, Exception):
                raise
        else:
            self._tell_what_is_held()
            versions.mark_verified(version_id=version_id, error="", max_tokens=loaded.runtime.max_tokens)

    def _tell_what_is_held(self) -> None:
        """Before the verdict: a version that is ready may be promoted at once, and promotion looks at what workers report."""
        try:
            self.heartbeat.beat()
        except redis.FAILURES:
            logger.warning("what this worker holds could not be told; the next beat tells it")

    def verify_soon(self, version_id: int) -> None:
        """Verify beside the batches, not between them."""
        self._preparer.verify_soon(version_id)

    def spec(self, version: ModelVersion) -> RuntimeSpec:
        """What a runtime must know of a version; its artefact is brought to this machine if it is not here."""
        ref = versions.reference(version)
        return RuntimeSpec(
            name=ref.qualified_name,
            version=ref.version,
            runtime=ref.runtime,
            artefact=storage.local_folder(version),
            digest=ref.digest,
            outputs=ref.outputs,
            input_schema=ref.input_schema,
            max_batch_size=ref.max_batch_size,
            device=self.device if version.device == "auto" else version.device,
            precision=version.precision,
            acceleration=version.acceleration,
            private=ref.owner_id is not None,
            options=version.card.get("options", {}),
        )

    def _note_broken_limit(self, version_id: int, reason: str) -> None:
        """After the reply, which callers wait for."""
        try:
            close_old_connections()
            versions.limit_broken(version_id=version_id, reason=reason)
        except Exception:
            logger.exception("that version %s broke a limit could not be written down", version_id)

    def _find(self, version_id: int, digest: str) -> Loaded:
        return self.models.find(key_of(version_id, digest)) or self._get(_row(version_id, digest))

    def _get(self, version: ModelVersion, *, spare_wanted: bool = False) -> Loaded:
        """The version, loaded; what it reads of a text is told where it is not known yet, as of versions that were verified by
        an earlier release."""
        loaded = self.models.get(version, spare_wanted=spare_wanted)
        found = loaded.runtime.max_tokens
        if found is not None and found != version.input_schema.get("max_tokens"):
            try:
                versions.note_max_tokens(version_id=version.pk, max_tokens=found)
            except Exception:
                logger.exception("how many tokens %s reads could not be noted; the next load tries it again", version)
        return loaded

    def _prepare_one(self, key: str, ref: ModelRef) -> None:
        try:
            self._get(_row(ref.version_id, ref.digest), spare_wanted=True)
        except NoRoom as full:
            self._not_before[key] = clock.monotonic() + _TRY_AGAIN_S
            logger.warning("%s", full)
        except Exception:
            self._not_before[key] = clock.monotonic() + _TRY_AGAIN_S
            logger.exception("%s could not be loaded; the worker serves the others", ref.qualified_reference)

    def _report(
        self, message: BatchMessage, outcome: executor.BatchOutcome, settling: Settling | None = None
    ) -> Report:
        answered = [
            (item, scores, outcome.lengths.get(place))
            for place, (item, scores) in enumerate(zip(message.items, outcome.results, strict=True))
            if scores is not None
        ]
        return Report(
            reply_to=message.reply_to,
            reply=BatchReply(
                batch_id=message.batch_id,
                worker=self.heartbeat.name,
                results=outcome.results,
                error=outcome.error,
                problems=outcome.problems,
                compute_s=outcome.compute_s,
                lengths=outcome.lengths,
                refusal=outcome.refusal,
            ),
            done=[item for item, _, _ in answered],
            entries={item.cache_key: scores for item, scores, _ in answered if item.cache_key},
            lengths={item.cache_key: length for item, _, length in answered if item.cache_key and length is not None},
            cache_ttl_s=message.cache_ttl_s,
            settling=settling,
        )


def _row(version_id: int, digest: str) -> ModelVersion:
    """The version as SQL knows it. Raises LookupError when it has another artefact than the one that is asked for."""
    close_old_connections()
    version = ModelVersion.objects.select_related("model__owner").get(pk=version_id)
    if version.sha256 != digest:
        raise LookupError(f"{version} has another artefact now than the batch was made for")
    return version
