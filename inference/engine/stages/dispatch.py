"""Third stage: what was admitted and is not at hand is computed once, by this process's workers or by another process's."""

import logging
from collections.abc import Callable, Mapping, Sequence

from inference.cache import leases, single_flight, store
from inference.cache.store import Entry
from inference.cache.waiters import SharedWork
from inference.engine import works
from inference.engine.preparing import Prepared
from inference.engine.stages import completion
from inference.engine.wave_call import WaveCall
from inference.engine.works import Computed
from mlplatform.lib import event_loop
from mlplatform.lib.errors import PlatformError

logger = logging.getLogger(__name__)

Broken = Callable[[Exception], None]
"""Gets a bug that keeps all from going on."""

_OfCall = Sequence[Computed]
"""What of one call this process computes: all of it is queued, or none."""


def dispatch(calls: Sequence[WaveCall], broken: Broken) -> None:
    """Have each input computed, unless an equal one is under way or was answered while this one was admitted."""
    ready: list[WaveCall] = []
    for call in calls:
        completion.begin_to_wait(call)
        packed = [item for item in call.items if item.is_packed and item.entry is None and item.joined is None]
        if packed:
            _unpack(call, packed)
        else:
            ready.append(call)
    if ready:
        _compute(ready, broken)


def _unpack(call: WaveCall, packed: Sequence[Prepared]) -> None:
    """Images, which takes a thread; each that cannot be unpacked has its problem, and its units are given back."""

    def broken(error: Exception) -> None:
        logger.error("a call with images broke off", exc_info=error)
        completion.fail(call, error)

    def unpack() -> list[bytes | PlatformError]:
        return [_unpacked(item, call) for item in packed]

    def done(unpacked: list[bytes | PlatformError] | Exception) -> None:
        if isinstance(unpacked, Exception):
            broken(unpacked)
            return
        if call.is_ending or call.has_ended:
            return
        for item, payload in zip(packed, unpacked, strict=True):
            if isinstance(payload, bytes):
                item.payload = payload
        try:
            _compute([call], broken)
            for item, payload in zip(packed, unpacked, strict=True):
                if isinstance(payload, PlatformError):
                    completion.give(call, item, payload)
        except Exception as error:  # noqa: BLE001 - handed on
            broken(error)

    event_loop.in_thread(unpack, done, may_wait=True)


def _unpacked(item: Prepared, call: WaveCall) -> bytes | PlatformError:
    try:
        return item.unpacked(contract=call.contract, until=call.deadline)
    except PlatformError as problem:
        return problem


def _compute(calls: Sequence[WaveCall], broken: Broken) -> None:
    offered: list[_OfCall] = []
    own: list[_OfCall] = []
    for call in calls:
        computed = [(item.ref, work) for item in call.items if (work := _work_of(call, item)) is not None]
        if call.is_bulk:
            most = works.most_queued()
            computed, call.unqueued = computed[:most], computed[most:]
            call.queued = len(computed)
        if computed:
            (offered if not call.is_bulk and works.is_offered(call.context) else own).append(computed)
        completion.all_wait(call)
        if call.context.cancellation is not None and call.context.cancellation.canceled:
            completion.give_up(call)
    # From here on without the calls: one that is given up meanwhile lets go of its computations, for which others may wait.
    shared = [work for computed in offered for _, work in computed if work.cache_key]
    if not shared or store.is_away():
        works.submit([*offered, *own])
        return

    def claimed(taken: Sequence[Entry | bool]) -> None:
        try:
            elsewhere = _computed_elsewhere(offered, dict(zip(shared, taken, strict=True)))
            ours = [[pair for pair in computed if pair[1] not in elsewhere] for computed in offered]
            works.submit([*ours, *own])
        except Exception as error:  # noqa: BLE001 - handed on
            broken(error)

    leases.take(shared, claimed)


def _computed_elsewhere(offered: Sequence[_OfCall], taken: Mapping[SharedWork, Entry | bool]) -> set[SharedWork]:
    """Those that are answered meanwhile, or wait for another process."""
    return {
        work
        for computed in offered
        for ref, work in computed
        if work in taken and not works.is_ours(ref, work, taken[work])
    }


def _work_of(call: WaveCall, item: Prepared) -> SharedWork | None:
    """The computation of an input that must be computed here; else it has its answer, or waits with an equal one from now on."""
    context = call.context
    if item.entry is not None:
        completion.give(call, item, item.entry.scores)
        return None
    if item.joined is not None:
        completion.wait(call, item, item.joined)
        return None
    if item.is_packed:
        return None
    work = works.work_of(
        item,
        item.payload,
        hold_id="" if call.is_bulk else item.hold_id,
        contract=call.contract,
        context=context,
        deadline=call.deadline,
    )
    # Before it is shared: what goes wrong from here on ends it for all.
    item.work = work
    if work.cache_key:
        item.joined = single_flight.begin(item.lease_key, work, may_join=context.cache.read)
        if item.joined is not None:
            item.work = None
            completion.wait(call, item, item.joined)
            return None
        if context.cache.read and (entry := works.answered_meanwhile(item, context)) is not None:
            single_flight.end(item.lease_key, work)
            item.work = None
            item.entry, item.units = entry, item.cached_units
            completion.give(call, item, entry.scores)
            return None
    completion.wait(call, item, work)
    return work
