"""Third stage: what was admitted and is not at hand is computed once, by this process's workers or by another process's."""

from collections.abc import Callable, Sequence
from typing import Any

from inference.batching.current import batcher
from inference.batching.work import Hold
from inference.cache import leases, links, single_flight, store, waiters
from inference.cache.waiters import SharedWork
from inference.engine.preparing import answering
from inference.engine.stages import completion
from inference.engine.wave_call import WaveCall
from inference.types import ModelRef, Priority
from mlplatform.lib.errors import PlatformError
from mlplatform.lib.redis_link import Answers

_Computed = tuple[ModelRef, SharedWork]


def dispatch(calls: Sequence[WaveCall], broken: Callable[[Exception], None]) -> None:
    """Have each computed, unless an equal one is under way or was answered while this one was admitted. ``broken`` gets a bug
    that keeps all from going on."""
    own = [call for call in calls if _must_be_computed(call)]
    for call in calls:
        if call.context.cancellation is not None and call.context.cancellation.canceled:
            completion.give_up(call, why=completion.TAKEN_BACK)
    # From here on without the calls: one that is given up meanwhile lets go of its computation, for which others may wait.
    shared = [(call.item.ref, _work(call)) for call in own if _is_offered(call)]
    alone = [(call.item.ref, _work(call)) for call in own if not _is_offered(call)]
    if not shared or store.is_away():
        _submit([*shared, *alone])
        return

    def claimed(answers: Answers | Exception) -> None:
        try:
            _submit([*alone, *_claimed(shared, answers)])
        except Exception as error:  # noqa: BLE001 - handed on
            broken(error)

    links.run(leases.TAKE, *leases.taking([work for _, work in shared]), claimed)


def _claimed(shared: Sequence[_Computed], answers: Answers | Exception) -> list[_Computed]:
    """Those that this process must compute; the others are answered, or wait for another process."""
    found: Any = answers if isinstance(answers, Exception) else answers[0]
    if isinstance(found, Exception):
        store.failed("claim")
        found = [1] * len(shared)
    ours = []
    for (ref, work), taken in zip(shared, leases.taken([work for _, work in shared], found), strict=True):
        entry = None if isinstance(taken, bool) else store.usable(taken, ref)
        if entry is not None:
            work.answer(entry)
        elif taken is False:
            waiters.follow(ref, work, _submit_later)
        else:
            ours.append((ref, work))
    return ours


def _must_be_computed(call: WaveCall) -> bool:
    """Whether it is; otherwise it waits with an equal one from now on, or is answered."""
    item, context = call.item, call.context
    completion.set_timer(call)
    if item.joined is not None:
        completion.wait(call, item.joined)
        return False
    keep = context.cache.write and bool(item.ref.cache_ttl_s) and store.fits(item.ref.outputs)
    work = SharedWork(
        payload=item.payload,
        cache_key=item.key if keep else b"",
        hold=Hold(item.hold_id, call.contract.subject.tenant_id, call.contract.subject.shard),
        deadline=call.deadline,
        priority=context.priority,
        weight=call.contract.weight,
        size=item.size,
        truncate=item.truncate,
    )
    # Before it is shared: what goes wrong from here on ends it for all.
    call.work = work
    if keep:
        item.joined = single_flight.begin(item.lease_key, work, may_join=context.cache.read)
        if item.joined is not None:
            call.work = None
            completion.wait(call, item.joined)
            return False
        if context.cache.read and (entry := _answered_meanwhile(call)) is not None:
            single_flight.end(item.lease_key, work)
            call.work = None
            item.entry, item.units = entry, item.cached_units
            completion.settle(call, entry.scores)
            return False
    completion.wait(call, work)
    return True


def _answered_meanwhile(call: WaveCall) -> store.Entry | None:
    """What this process has by now. A text that is known to be too long is left to the worker, which tells it again: its
    units are held already."""
    item = call.item
    try:
        return call.context.cache.fresh(answering(store.local.get(item.key), item.ref, item.request))
    except PlatformError:
        return None


def _is_offered(call: WaveCall) -> bool:
    """Whether other processes may join it, and it theirs: not a call that asks for a fresh answer, nor background work."""
    policy = call.context.cache
    return (
        bool(_work(call).cache_key)
        and policy.read
        and policy.max_age_s is None
        and call.context.priority is Priority.INTERACTIVE
    )


def _submit(computed: Sequence[_Computed]) -> None:
    wanted = [(ref, work) for ref, work in computed if not work.abandoned]
    problems = batcher().submit_each([[(ref, [work])] for ref, work in wanted])
    for (_, work), problem in zip(wanted, problems, strict=True):
        if problem is not None:
            work.fail(problem)


def _submit_later(ref: ModelRef, work: SharedWork) -> None:
    batcher().submit([(ref, [work])])


def _work(call: WaveCall) -> SharedWork:
    assert call.work is not None  # noqa: S101 (every call of this stage computes)
    return call.work
