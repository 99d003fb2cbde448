"""Third stage: what was admitted and is not at hand is computed once, by this process's workers or by another process's."""

from collections.abc import Callable, Sequence
from typing import Any

from inference.batching.current import batcher
from inference.cache import leases, links, single_flight, store
from inference.cache.waiters import SharedWork
from inference.engine import works
from inference.engine.stages import completion
from inference.engine.wave_call import WaveCall
from inference.types import ModelRef
from mlplatform.lib.redis_link import Answers

_Computed = tuple[ModelRef, SharedWork]


def dispatch(calls: Sequence[WaveCall], broken: Callable[[Exception], None]) -> None:
    """Have each computed, unless an equal one is under way or was answered while this one was admitted. ``broken`` gets a bug
    that keeps all from going on."""
    own = [call for call in calls if _must_be_computed(call)]
    for call in calls:
        if call.context.cancellation is not None and call.context.cancellation.canceled:
            completion.give_up(call)
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
    taken = leases.taken([work for _, work in shared], found)
    return [(ref, work) for (ref, work), one in zip(shared, taken, strict=True) if works.is_ours(ref, work, one)]


def _must_be_computed(call: WaveCall) -> bool:
    """Whether it is; otherwise it waits with an equal one from now on, or is answered."""
    item, context = call.item, call.context
    completion.set_timer(call)
    if item.joined is not None:
        completion.wait(call, item.joined)
        return False
    work = works.work_of(
        item,
        item.payload,
        hold_id=item.hold_id,
        contract=call.contract,
        context=context,
        deadline=call.deadline,
    )
    # Before it is shared: what goes wrong from here on ends it for all.
    call.work = work
    if work.cache_key:
        item.joined = single_flight.begin(item.lease_key, work, may_join=context.cache.read)
        if item.joined is not None:
            call.work = None
            completion.wait(call, item.joined)
            return False
        if context.cache.read and (entry := works.answered_meanwhile(item, context)) is not None:
            single_flight.end(item.lease_key, work)
            call.work = None
            item.entry, item.units = entry, item.cached_units
            completion.settle(call, entry.scores)
            return False
    completion.wait(call, work)
    return True


def _is_offered(call: WaveCall) -> bool:
    return bool(_work(call).cache_key) and works.is_offered(call.context)


def _submit(computed: Sequence[_Computed]) -> None:
    wanted = [(ref, work) for ref, work in computed if not work.abandoned]
    problems = batcher().submit_each([[(ref, [work])] for ref, work in wanted])
    for (_, work), problem in zip(wanted, problems, strict=True):
        if problem is not None:
            work.fail(problem)


def _work(call: WaveCall) -> SharedWork:
    assert call.work is not None  # noqa: S101 (every call of this stage computes)
    return call.work
