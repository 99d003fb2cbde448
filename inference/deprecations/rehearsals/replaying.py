"""Compute a call again for a rehearsal: by the same workers, but unbilled, unmetered, uncached, and after all other calls.

There is no caller, hold or usage record here, and no cache is read or written, so that the customer's limits, ledger and
cached answers stay as they are. One input at a time, each only when no batch waits for a worker (for a while; where the
workers are never idle, a single input at each patience is too little to be felt).
"""

import logging
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import numpy as np

from billing import pricing
from billing.models import Operation
from inference.batching.current import compute_unbilled
from inference.batching.work import WorkItem
from inference.engine import answers, preparing
from inference.engine.predict import Answer
from inference.fleet import workers
from inference.inputs import canonical, truncation
from inference.registry import names, versions
from inference.types import DEFAULT_POOL, ModelRef, PredictRequest, PredictResult
from mlplatform.lib import clock, event_loop
from mlplatform.lib.errors import ErrorKind, PlatformError
from mlplatform.lib.ids import hex_id
from tenants.deprecations import catalogue
from tenants.models import Tenant

logger = logging.getLogger(__name__)

PATIENCE_S: Final = 5.0
_PAUSE_S: Final = 0.05
TIMEOUT_S: Final = 30.0


class WorkersAwayError(Exception):
    """No worker is there to compute: a failure of the service, which says nothing of the call."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What the call would be answered with: ``latency_ms`` in the service, ``units`` if it were computed and billed."""

    answer: Answer
    latency_ms: float
    units: int


def replay(request: PredictRequest, *, tenant: Tenant, allowed_models: Collection[str] = ()) -> Replayed:
    """The answer to a request that the tenant's key would send now; an empty ``allowed_models`` allows all.

    Raises ``PlatformError`` for what would refuse the call, and :class:`WorkersAwayError`.
    """
    ref = resolve(request, tenant=tenant, allowed_models=allowed_models)
    payload = canonical.encode(ref.input_schema, request.input, field=f"{request.path}input")
    wait_for_idle_workers()
    started = clock.monotonic()
    work = _computed(ref, payload, tenant, request)
    scores = work.scores
    assert scores is not None  # noqa: S101 - or it would have raised
    latency_ms = round((clock.monotonic() - started) * 1000, 3)
    price = pricing.tariff(operation=Operation.PREDICT.value, model=ref.qualified_name)
    result = PredictResult(
        id=hex_id(),
        model=ref.name,
        model_version=ref.version,
        predictions=None if ref.is_embedding else answers.ranked(scores, ref.labels, request.top_k),
        embedding=np.frombuffer(scores, dtype=np.float32) if ref.is_embedding else None,
        units=price.per_input,
        cached=False,
        age_s=0,
        latency_ms=latency_ms,
        vector_name=ref.vector_name,
        truncated=work.length,
    )
    units = price.per_call + price.per_input
    return Replayed(Answer((result,), units, None), latency_ms, units)


def resolve(request: PredictRequest, *, tenant: Tenant, allowed_models: Collection[str] = ()) -> ModelRef:
    """The version that would answer the tenant. Raises INVALID_INPUT, NOT_FOUND, or GONE for one that has ended."""
    field = f"{request.path}model"
    name = request.model or tenant.default_model
    if allowed_models and names.model_of(name) not in allowed_models:
        raise versions.not_found(name, field=field)
    schedule = catalogue.current().models.get(versions.subject_of(name, tenant_id=tenant.pk))
    if schedule is not None and clock.now() >= schedule.sunset_for(tenant.pk):
        raise PlatformError(
            ErrorKind.GONE, f"The model version {name} has ended; use {schedule.successor}.", field=field
        )
    ref = versions.resolve(name, tenant_id=tenant.pk, field=field)
    if ref.is_embedding:
        preparing.require_labels_unasked(ref, request)
    return ref


def wait_for_idle_workers(*, within_s: float = PATIENCE_S) -> bool:
    """Let every batch that waits in the broker go first; False where there still was one after ``within_s``.

    Raises what Redis raises.
    """
    give_up = clock.monotonic() + within_s
    while workers.queue_depths()[DEFAULT_POOL]:
        if clock.monotonic() >= give_up:
            return False
        time.sleep(_PAUSE_S)
    return True


def _computed(ref: ModelRef, payload: bytes, tenant: Tenant, request: PredictRequest) -> WorkItem:
    """It has its scores; tried twice, for the first worker may have been stopped. A second failure is the call's own, as is a
    text that is too long."""
    try:
        return _compute(ref, payload, tenant, request)
    except PlatformError as error:
        if truncation.is_too_long(error):
            raise
        logger.info("a replayed call failed and is tried again: %s", error.detail)
    if not workers.count(DEFAULT_POOL):
        raise WorkersAwayError("No GPU worker is there.")
    return _compute(ref, payload, tenant, request)


def _compute(ref: ModelRef, payload: bytes, tenant: Tenant, request: PredictRequest) -> WorkItem:
    ended = threading.Event()
    work = compute_unbilled(
        ref,
        payload,
        tenant_id=tenant.pk,
        shard=tenant.shard,
        deadline=clock.monotonic() + TIMEOUT_S,
        truncate=request.truncate,
        done=lambda _: ended.set(),
    )
    if not ended.wait(TIMEOUT_S):
        event_loop.tell(work.leave)
        raise WorkersAwayError(f"No GPU worker answered within {TIMEOUT_S:.0f} s.")
    if work.length is not None and work.scores is None:
        raise truncation.too_long(work.length, model=ref.name, field=f"{request.path}input")
    if work.scores is None:
        raise PlatformError(ErrorKind.UNAVAILABLE, "The model failed on this input.", retry_after_s=1.0)
    return work
