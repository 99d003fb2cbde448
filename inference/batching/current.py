"""The batcher of this process, and computations that no call pays for."""

import os
from collections.abc import Callable
from functools import lru_cache

from django.conf import settings

from inference.batching.batcher import Batcher
from inference.batching.transport import CeleryTransport
from inference.batching.work import Hold, WorkItem
from inference.types import ModelRef, Priority


@lru_cache(maxsize=1)
def batcher() -> Batcher:
    """The batcher of this process."""
    return Batcher(
        CeleryTransport(),
        per_worker=settings.BATCHES_IN_FLIGHT,
        max_queued=settings.MAX_QUEUED_INPUTS,
        max_queued_bytes=settings.MAX_QUEUED_BYTES,
        shared_batch_s=settings.SHARED_BATCH_S,
    )


def compute_unbilled(
    ref: ModelRef,
    payload: bytes,
    *,
    tenant_id: int,
    shard: int,
    deadline: float,
    truncate: int,
    done: Callable[[WorkItem], None],
    priority: Priority = Priority.INTERACTIVE,
) -> WorkItem:
    """Queue one canonical input without a hold, a cache entry or a usage record: for shadows and rehearsals.

    ``deadline`` is on the monotonic clock. ``done`` gets the input on the event loop, once it has its answer or its failure.
    Raises OVERLOADED or UNAVAILABLE where it cannot be queued.
    """
    work = WorkItem(
        payload=payload,
        cache_key=b"",
        hold=Hold(hold_id="", tenant_id=tenant_id, shard=shard),
        deadline=deadline,
        priority=priority,
        truncate=truncate,
    )
    work.when_done(done)
    batcher().submit([(ref, [work])])
    return work


def forget() -> None:
    """Stop the batcher, if there is one; for tests."""
    if batcher.cache_info().currsize:
        batcher().stop()
        batcher.cache_clear()


# A forked child has neither the loop nor the connections of its parent's batcher.
os.register_at_fork(after_in_child=batcher.cache_clear)
