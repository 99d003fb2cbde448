"""The books of a call: what it has taken back, and what it settles itself, before it ends.

Taking back is rare and needs round trips one after the other; threads beside the loop make these. What is settled, because a
cached answer's price leaves something of a hold or a call counts itself, is settled together for all calls of one turn.
"""

from collections.abc import Callable, Sequence
from functools import partial

from billing import charging, late_releases
from billing.admission import MAX_CHARGES, Settled, Settlement, on_loop
from inference.engine.charges import Reckoning, reckon
from inference.engine.wave_call import WaveCall
from mlplatform.lib import event_loop
from mlplatform.lib.errors import PlatformError

End = Callable[[WaveCall], None]
"""Ends a call whose books are closed."""

_Reckoned = tuple[WaveCall, Reckoning, End]

_settling: list[_Reckoned] = []
_taking_back: list[_Reckoned] = []


def close(call: WaveCall, end: End) -> None:
    """Take back and settle what no worker has settled, then end the call."""
    reckoning = reckon(call)
    if reckoning.taken_back:
        _take_back((call, reckoning, end))
    else:
        _settle((call, reckoning, end))


def _settle(reckoned: _Reckoned) -> None:
    call, reckoning, end = reckoned
    if not reckoning.settled:
        end(call)
        return
    if not _settling:
        event_loop.get().call_soon(_settle_all)
    _settling.append(reckoned)


def _settle_all() -> None:
    reckoned = _settling[:]
    _settling.clear()
    owners: dict[tuple[int, int], list[_Reckoned]] = {}
    for each in reckoned:
        subject = each[0].contract.subject
        owners.setdefault((subject.shard, subject.tenant_id), []).append(each)
    for (shard, tenant_id), waiting in owners.items():
        while waiting:
            some, holds = _as_many_as_one_run_takes(waiting)
            waiting = waiting[len(some) :]
            on_loop.settle(shard=shard, tenant_id=tenant_id, holds=holds, done=partial(_settled, some))


def _as_many_as_one_run_takes(waiting: Sequence[_Reckoned]) -> tuple[list[_Reckoned], list[Settlement]]:
    some: list[_Reckoned] = []
    holds: list[Settlement] = []
    for each in waiting:
        if some and len(holds) + len(each[1].settled) > MAX_CHARGES:
            break
        some.append(each)
        holds += each[1].settled
    return some, holds


def _settled(reckoned: Sequence[_Reckoned], outcome: Sequence[Settled] | PlatformError) -> None:
    for call, reckoning, end in reckoned:
        if isinstance(outcome, PlatformError):
            _unsettle(call, reckoning, outcome, end)
        else:
            end(call)


def _unsettle(call: WaveCall, reckoning: Reckoning, problem: PlatformError, end: End) -> None:
    """What workers have settled is paid and is given; what could not be settled is not."""
    failed = {hold.hold_id for hold in reckoning.settled}
    if call.is_bulk:
        call.problem = problem.copy()
    for item in call.items:
        if item.hold_id in failed:
            item.outcome = problem.copy()
    if call.fee_hold_id in failed:
        call.fee = 0
    # Of a call that is of use as a whole alone, this takes back the rest as well.
    again = failed.union(reckon(call).taken_back)
    _take_back((call, Reckoning(taken_back=[*again]), end))


def _take_back(reckoned: _Reckoned) -> None:
    if not _taking_back:
        event_loop.get().call_soon(_take_back_all)
    _taking_back.append(reckoned)


def _take_back_all() -> None:
    """For all calls of one turn; then each goes on to settle the rest."""
    reckoned = _taking_back[:]
    _taking_back.clear()
    now: list[_Reckoned] = []
    for each in reckoned:
        subject = each[0].contract.subject
        if on_loop.state_link(subject.shard).is_failing:
            # The caller does not wait until Redis has failed once more: it is made true as soon as it answers.
            late_releases.owe(subject, each[1].taken_back)
            _settle(each)
        else:
            now.append(each)
    if now:
        event_loop.in_thread(partial(_take_back_now, now), partial(_settle_each, now))


def _take_back_now(reckoned: Sequence[_Reckoned]) -> None:
    owners: dict[int, list[_Reckoned]] = {}
    for each in reckoned:
        owners.setdefault(each[0].contract.subject.tenant_id, []).append(each)
    for some in owners.values():
        holds = [hold_id for _, reckoning, _ in some for hold_id in reckoning.taken_back]
        charging.take_back(some[0][0].contract.subject, *holds)


def _settle_each(reckoned: Sequence[_Reckoned], _: object) -> None:
    for each in reckoned:
        _settle(each)
