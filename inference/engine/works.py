"""From an input to the work that computes it, and into the batcher's queues."""

from collections.abc import Sequence
from typing import Final

from django.conf import settings

from billing.contracts import Contract
from inference.batching import current
from inference.batching.current import batcher
from inference.batching.work import Hold
from inference.cache import leases, single_flight, store, waiters
from inference.cache.waiters import SharedWork
from inference.engine.preparing import Prepared, answering
from inference.types import CallContext, ModelRef, Priority
from mlplatform.lib.errors import PlatformError

Computed = tuple[ModelRef, SharedWork]

_MOST_QUEUED: Final = 512
"""Of a bulk call's inputs at the same time."""


def is_kept(item: Prepared, context: CallContext) -> bool:
    """Whether its answer is kept, so that equal inputs share it and its computation."""
    return context.cache.write and bool(item.ref.cache_ttl_s) and store.fits(item.ref.outputs)


def work_of(
    item: Prepared, payload: bytes, *, hold_id: str, contract: Contract, context: CallContext, deadline: float
) -> SharedWork:
    """What computes the input; ``payload`` is unpacked, and an empty ``hold_id`` has the worker settle nothing."""
    subject = contract.subject
    return SharedWork(
        payload=payload,
        cache_key=item.key if is_kept(item, context) else b"",
        hold=Hold(hold_id=hold_id, tenant_id=subject.tenant_id, shard=subject.shard),
        deadline=deadline,
        priority=context.priority,
        weight=contract.weight,
        size=item.size,
        truncate=item.truncate,
    )


def answered_meanwhile(item: Prepared, context: CallContext) -> store.Entry | None:
    """What this process has by now. A text that is known to be too long is left to the worker, which tells it again: its
    units are held already."""
    try:
        return context.cache.fresh(answering(store.local.get(item.key), item.ref, item.request))
    except PlatformError:
        return None


def is_offered(context: CallContext) -> bool:
    """Whether other processes may join its computations, and it theirs.

    A call that asks for a fresh answer joins none, and background work, which all other work overtakes, is offered to none.
    """
    policy = context.cache
    return policy.read and policy.max_age_s is None and context.priority is Priority.INTERACTIVE


def is_ours(ref: ModelRef, work: SharedWork, taken: store.Entry | bool) -> bool:
    """Whether this process must compute it, after the answer of ``leases.take``; if not, it is answered now, or waits for the
    process that computes it."""
    entry = None if isinstance(taken, bool) else store.usable(taken, ref)
    if entry is not None:
        store.local.put(work.cache_key, entry)
        work.answer(entry)
        return False
    if taken is False:
        waiters.follow(ref, work, submit_later)
        return False
    return True


def submit_later(ref: ModelRef, work: SharedWork) -> None:
    """Have it computed after all, when no other process will. Raises OVERLOADED or UNAVAILABLE."""
    batcher().submit([(ref, [work])])


def submit(calls: Sequence[Sequence[Computed]]) -> None:
    """Queue what is to be computed, of each call all or none; what finds no room fails with OVERLOADED."""
    wanted = [[(ref, work) for ref, work in computed if not work.abandoned] for computed in calls]
    problems = batcher().submit_each([_by_version(computed) for computed in wanted])
    for computed, problem in zip(wanted, problems, strict=True):
        if problem is not None:
            for _, work in computed:
                work.fail(problem)


def most_queued() -> int:
    """Of a bulk call, as many inputs are queued at the same time."""
    return max(1, min(_MOST_QUEUED, settings.MAX_QUEUED_INPUTS // 2))


def _by_version(computed: Sequence[Computed]) -> list[tuple[ModelRef, list[SharedWork]]]:
    if len(computed) == 1:
        ((ref, work),) = computed
        return [(ref, [work])]
    versions: dict[int, tuple[ModelRef, list[SharedWork]]] = {}
    for ref, work in computed:
        versions.setdefault(ref.version_id, (ref, []))[1].append(work)
    return [*versions.values()]


def forget() -> None:
    """Drop what this process holds of answers and running computations; for tests."""
    store.forget()
    single_flight.forget()
    leases.forget()
    waiters.forget()
    current.forget()
