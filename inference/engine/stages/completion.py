"""Last stage: the answer or the problem of a call, what it costs in the end, and giving back what it had taken.

Failures are rare and need round trips one after the other; threads beside the loop make these, by the same functions as calls
of many inputs do. Success needs none, but for what a cached answer's price leaves of a hold: those of one turn are settled
together.
"""

import logging
from collections.abc import Sequence
from functools import partial
from typing import Final

from billing import charging, late_releases
from billing.admission import MAX_CHARGES, Settled, Settlement, on_loop
from inference.batching.work import WorkItem
from inference.cache import leases, single_flight, store
from inference.cache.waiters import SharedWork
from inference.engine import observe
from inference.engine.computing import take_back_unless_answered
from inference.engine.permits import permits
from inference.engine.wave_call import Outcome, WaveCall
from mlplatform.lib import clock, event_loop
from mlplatform.lib.errors import PlatformError, unavailable

logger = logging.getLogger(__name__)

_LOST: Final = "The prediction was lost; please try again."

_settling: list[tuple[WaveCall, bytes]] = []
_failing: list[tuple[WaveCall, Exception]] = []


def answer_cached(call: WaveCall) -> None:
    """A cache had the answer, and it is metered."""
    assert call.item.entry is not None  # noqa: S101 (that is what cached means)
    end(call, call.item.entry.scores)


def wait(call: WaveCall, work: SharedWork) -> None:
    """Go on when the computation has an answer or a failure."""
    if call.decided is not None:
        call.decided(call)
        call.decided = None
    work.when_done(partial(_computed, call))


def set_timer(call: WaveCall) -> None:
    """It waits until its deadline."""
    left_s = max(0.0, call.deadline - clock.monotonic())
    call.timer = event_loop.get().call_later(left_s, give_up, call)


def settle(call: WaveCall, scores: bytes) -> None:
    """Pay what the item's units say; less than was held. It can no longer be given up, or its answer would be free."""
    call.is_ending = True
    if not _settling:
        event_loop.get().call_soon(_settle_all)
    _settling.append((call, scores))


def fail(call: WaveCall, problem: Exception) -> None:
    """End with a problem, when nothing is charged for it any more. A call that has ended stays as it is."""
    if call.is_ending or call.outcome is not None:
        return
    if not call.is_held:
        end(call, problem)
        return
    call.is_ending = True
    if not _failing:
        event_loop.get().call_soon(_take_back_all)
    _failing.append((call, problem))


def give_up(call: WaveCall) -> None:
    """Its time is over, or its caller has taken it back. A call that has ended stays as it is."""
    if call.is_ending or call.outcome is not None:
        return
    work = call.work or call.item.joined
    if work is None or not call.is_held:
        return  # Its admission is under way, and ends sooner than any caller's patience.
    call.is_ending = True
    take_back = partial(take_back_unless_answered, call.contract.subject, call.item.hold_id, work, call.context)
    event_loop.in_thread(take_back, partial(_given_up, call, work))


def end(call: WaveCall, outcome: Outcome) -> None:
    """Give back what it holds of this process, and tell it."""
    if call.outcome is not None:
        return
    call.outcome = outcome
    if call.timer is not None:
        call.timer.cancel()
        call.timer = None
    if call.has_permit:
        call.has_permit = False
        permits().give(call.contract.subject.tenant_id)
    item = call.item
    if call.work is not None:
        if isinstance(outcome, Exception):
            call.work.fail(unavailable(_LOST))
        _let_go(call, call.work)
    elif isinstance(outcome, Exception):
        item.leave()
    if call.is_admitted:
        told: bytes | PlatformError = outcome if isinstance(outcome, bytes | PlatformError) else unavailable(_LOST)
        observe.note(
            call.contract.subject, call.context, [item], {item.hold_id: told}, started=call.started, now=call.served
        )
    decided, call.decided = call.decided, None
    try:
        call.done(call)
        # After it has ended: a thread that hears of this may begin the call anew.
        if decided is not None:
            decided(call)
    except Exception:
        logger.exception("the answer of a call could not be handed over")


# --- The computation is over -----------------------------------------------------------------------------------------


def _computed(call: WaveCall, work: WorkItem) -> None:
    if not event_loop.is_current():
        # A call of many inputs, which this one waits with, has failed on its own thread.
        event_loop.tell(_computed, call, work)
        return
    if call.is_ending or call.outcome is not None:
        return
    _complete(call, work)


def _complete(call: WaveCall, work: WorkItem) -> None:
    item = call.item
    if work.scores is None:
        # Settled or not: a worker that died with its answer may have settled before.
        problem = item.refused(work.length) if work.length is not None else work.error
        # Calls that waited with one computation fail together, but each tells the problem in its own words.
        fail(call, problem.copy() if problem is not None else unavailable(_LOST))
        return
    item.length = work.length
    entry = work.entry if isinstance(work, SharedWork) else None
    if entry is not None:
        item.entry, item.units = entry, item.cached_units
        settle(call, work.scores)
    elif item.joined is None:
        if work.cache_key:
            store.put_local(item.key, work.scores, ttl_s=item.ref.cache_ttl_s, length=work.length)
        end(call, work.scores)
    else:
        if work.claim_charge():
            item.claimed_charge = True
        else:
            item.units = item.cached_units
        settle(call, work.scores)


def _settle_all() -> None:
    calls = _settling[:]
    _settling.clear()
    owners: dict[tuple[int, int], list[tuple[WaveCall, bytes]]] = {}
    for pair in calls:
        subject = pair[0].contract.subject
        owners.setdefault((subject.shard, subject.tenant_id), []).append(pair)
    for (shard, tenant_id), pairs in owners.items():
        for start in range(0, len(pairs), MAX_CHARGES):
            some = pairs[start : start + MAX_CHARGES]
            holds = [Settlement(hold_id=call.item.hold_id, units=call.item.units) for call, _ in some]
            on_loop.settle(shard=shard, tenant_id=tenant_id, holds=holds, done=partial(_settled, some))


def _settled(pairs: Sequence[tuple[WaveCall, bytes]], outcome: Sequence[Settled] | PlatformError) -> None:
    for call, scores in pairs:
        if isinstance(outcome, PlatformError):
            call.is_ending = False
            fail(call, outcome.copy())
        else:
            end(call, scores)


# --- Nothing is charged ----------------------------------------------------------------------------------------------


def _take_back_all() -> None:
    calls = _failing[:]
    _failing.clear()
    away = [pair for pair in calls if on_loop.state_link(pair[0].contract.subject.shard).is_failing]
    for call, problem in away:
        # The callers do not wait until Redis has failed once more: it is made true as soon as it answers.
        late_releases.owe(call.contract.subject, [call.item.hold_id])
        end(call, problem)
    calls = [pair for pair in calls if pair not in away]
    if not calls:
        return

    def work() -> None:
        owners: dict[int, list[WaveCall]] = {}
        for call, _ in calls:
            owners.setdefault(call.contract.subject.tenant_id, []).append(call)
        for some in owners.values():
            charging.take_back(some[0].contract.subject, *(call.item.hold_id for call in some))

    def done(_: object) -> None:
        for call, problem in calls:
            end(call, problem)

    event_loop.in_thread(work, done)


def _given_up(call: WaveCall, work: SharedWork, problem: Exception | None) -> None:
    if problem is None:
        call.is_ending = False  # Its worker may have settled and died: then it fails, which is one more ending.
        _complete(call, work)
        return
    if call.item.joined is None:
        work.leave(unpaid=True)
        call.work = None  # Others may wait for it still: it goes on without this call.
        _let_go(call, work)
    end(call, problem)


def _let_go(call: WaveCall, work: SharedWork) -> None:
    """The call that began a computation has ended or left it. Equal inputs of this process no longer find it, and no process
    waits for it where it ends unanswered."""
    single_flight.end(call.item.lease_key, work)
    lost = leases.ended([work])
    if lost:
        event_loop.in_thread(partial(leases.give_back, lost))
