"""Last stage: the outcome of each input, the end of the call, and giving back what it had taken."""

import logging
from functools import partial
from typing import Final

from billing import charging
from inference.batching.work import WorkItem
from inference.cache import leases, single_flight, store
from inference.cache.waiters import SharedWork
from inference.engine import linger, observe, works
from inference.engine.permits import permits
from inference.engine.preparing import Prepared
from inference.engine.stages import settlement
from inference.engine.wave_call import WaveCall
from mlplatform.lib import clock, event_loop
from mlplatform.lib.errors import ErrorKind, PlatformError, unavailable

logger = logging.getLogger(__name__)

_LOST: Final = "The prediction was lost; please try again."
SETTLED_WAIT_S: Final = 1.0
"""The answer of an input that its worker has settled is on its way."""


def answer_cached(call: WaveCall) -> None:
    """Caches had all answers, and they are metered."""
    for item in call.items:
        assert item.entry is not None  # noqa: S101 (that is what cached means)
        item.outcome = item.entry.scores
    end(call)


def begin_to_wait(call: WaveCall) -> None:
    """It was admitted, and waits for its inputs until its deadline."""
    call.waits_for = len(call.items)
    left_s = max(0.0, call.deadline - clock.monotonic())
    call.timer = event_loop.get().call_later(left_s, give_up, call)


def all_wait(call: WaveCall) -> None:
    """Every input of it is computed, or waits with an equal one."""
    decided, call.decided = call.decided, None
    if decided is not None:
        decided(call)


def wait(call: WaveCall, item: Prepared, work: SharedWork) -> None:
    """Go on when the computation has an answer or a failure."""
    work.when_done(partial(_computed, call, item))


def give(call: WaveCall, item: Prepared, outcome: bytes | PlatformError) -> None:
    """The outcome of an input; after that of the last one the call ends."""
    if call.is_ending or call.has_ended:
        return
    item.outcome = outcome
    call.waits_for -= 1
    if call.is_bulk and not isinstance(outcome, bytes):
        fail(call, _of_bulk(call, item, outcome))
    elif not call.waits_for:
        _finish(call)


def fail(call: WaveCall, problem: Exception) -> None:
    """End as a whole, when nothing is charged for it any more. A call that has ended stays as it is."""
    if call.is_ending or call.has_ended:
        return
    call.problem = problem
    if call.is_held:
        _finish(call)
    else:
        end(call)


def give_up(call: WaveCall) -> None:
    """Its time is over, or its caller has taken it back. A call that has ended stays as it is."""
    if call.is_ending or call.has_ended or not call.is_held:
        return  # Where it is not held its admission is under way, and ends sooner than any caller's patience.
    if call.is_bulk:
        fail(call, _late_bulk(call))
        return
    call.is_ending = True
    ids = [item.hold_id for item in call.items if item.outcome is None]
    release = partial(charging.release, call.contract.subject, ids)
    event_loop.in_thread(release, partial(_given_up, call))


def _finish(call: WaveCall) -> None:
    """Every input has its outcome, or the call a problem. From here on it can no longer be given up: its answer would be free."""
    call.is_ending = True
    settlement.close(call, end)


def end(call: WaveCall, problem: Exception | None = None) -> None:
    """Give back what it holds of this process, and tell it; ``problem`` is one that it has as a whole."""
    if call.has_ended:
        return
    call.has_ended = True
    linger.ended()
    call.problem = call.problem or problem
    if call.timer is not None:
        call.timer.cancel()
        call.timer = None
    if call.has_permit:
        call.has_permit = False
        permits().give(call.contract.subject.tenant_id)
    _let_go(call)
    if call.is_admitted:
        observe.note(call.contract.subject, call.context, call.items, started=call.started, now=call.served)
    # Let go of what waits for it: it knows this call, and a circle would outlive both.
    done, call.done = call.done, None
    decided, call.decided = call.decided, None
    try:
        if done is not None:
            done(call)
        # After it has ended: a thread that hears of this may begin the call anew.
        if decided is not None:
            decided(call)
    except Exception:
        logger.exception("the answer of a call could not be handed over")


def _let_go(call: WaveCall) -> None:
    """Of its computations: equal inputs no longer find them, and no process waits for those that end unanswered."""
    begun: list[SharedWork] = []
    for item in call.items:
        work = item.work
        if work is None:
            if not isinstance(item.outcome, bytes):
                item.leave()
            continue
        item.work = None
        if call.is_bulk and call.problem is not None:
            work.leave(unpaid=True)
        elif not work.is_done:
            work.fail(unavailable(_LOST))
        single_flight.end(item.lease_key, work)
        begun.append(work)
    for _, work in call.unqueued:
        work.fail(unavailable(_LOST))
    call.unqueued = ()
    if begun:
        leases.end(begun)


# --- The computation of an input is over -----------------------------------------------------------------------------


def _computed(call: WaveCall, item: Prepared, work: WorkItem) -> None:
    if call.is_ending or call.has_ended or item.outcome is not None:
        return  # It was given up: a computation that goes on for others tells those that have left it, too.
    outcome = _outcome(item, work)
    if call.is_bulk and item.joined is None:
        _queue_more(call)
    give(call, item, outcome)


def _outcome(item: Prepared, work: WorkItem) -> bytes | PlatformError:
    if work.scores is None:
        # Settled or not: a worker that died with its answer may have settled before.
        if work.length is not None:
            return item.refused(work.length)
        # Calls that waited with one computation fail together, but each tells the problem in its own words.
        return work.error.copy() if work.error is not None else unavailable(_LOST)
    item.length = work.length
    entry = work.entry if isinstance(work, SharedWork) else None
    if entry is not None:
        item.entry, item.units = entry, item.cached_units
    elif item.joined is None:
        if work.cache_key:
            store.put_local(item.key, work.scores, ttl_s=item.ref.cache_ttl_s, length=work.length)
    elif work.claim_charge():
        item.claimed_charge = True
    else:
        item.units = item.cached_units
    return work.scores


def _queue_more(call: WaveCall) -> None:
    """Of a bulk call, of which half a window is to be queued while the other half is computed."""
    call.queued -= 1
    most = works.most_queued()
    if call.unqueued and call.queued <= most // 2:
        some, call.unqueued = call.unqueued[: most - call.queued], call.unqueued[most - call.queued :]
        call.queued += len(some)
        # Not from here: a reply completes its whole batch first.
        event_loop.tell(works.submit, [some])


def _of_bulk(call: WaveCall, item: Prepared, problem: PlatformError) -> PlatformError:
    """The first problem of an input ends all of the call."""
    problem.field = problem.field or item.field
    problem.detail = f"{problem.detail} Nothing was charged for the {len(call.items):,} inputs of this call."
    return problem


def _late_bulk(call: WaveCall) -> PlatformError:
    answered = len(call.items) - call.waits_for
    return PlatformError(
        ErrorKind.TIMEOUT,
        f"{_why(call)}: {answered:,} of {len(call.items):,} inputs were answered until then, and nothing was charged. Send fewer "
        "inputs in one call, or try again later.",
        retry_after_s=1.0,
    )


def _why(call: WaveCall) -> str:
    cancellation = call.context.cancellation
    is_canceled = cancellation is not None and cancellation.canceled
    return "The call was taken back" if is_canceled else "The model did not answer in time"


# --- Its time is over ------------------------------------------------------------------------------------------------


def _given_up(call: WaveCall, released: set[str] | Exception) -> None:
    """What was released is not charged any more, and has no answer."""
    call.is_ending = False
    if isinstance(released, Exception):
        fail(call, released)
        return
    call.released = released
    for item in [item for item in call.items if item.outcome is None]:
        if item.hold_id in released:
            _leave(call, item)
        elif (work := item.work or item.joined) is not None and work.is_done:
            # Its worker has settled in this very moment, and may have died: then it fails, which is one more ending.
            give(call, item, _outcome(item, work))
    if call.waits_for and not call.has_ended:
        call.timer = event_loop.get().call_later(SETTLED_WAIT_S, _give_up_what_was_settled, call)


def _give_up_what_was_settled(call: WaveCall) -> None:
    """The answers that were on their way did not come: what was settled is taken back."""
    for item in [item for item in call.items if item.outcome is None]:
        _leave(call, item)


def _leave(call: WaveCall, item: Prepared) -> None:
    """Wait for it no longer; a computation of its own goes on without it, for others may wait with it."""
    work = item.work
    if work is None:
        item.leave()
    else:
        work.leave(unpaid=True)
        item.work = None
        single_flight.end(item.lease_key, work)
        leases.end([work])
    problem = PlatformError(
        ErrorKind.TIMEOUT, f"{_why(call)}; nothing was charged. Please try again.", retry_after_s=1.0
    )
    give(call, item, problem)
