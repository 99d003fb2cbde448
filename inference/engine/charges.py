"""What is to be admitted for a call, and what its holds become in the end: settled, or taken back."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from billing import charging
from billing.admission import Charge, Settlement
from inference.engine.preparing import Prepared
from inference.engine.shared_holds import shared_holds
from inference.engine.wave_call import WaveCall
from mlplatform.lib.errors import ErrorKind, PlatformError
from mlplatform.lib.ids import hex_id

HOLD_MARGIN_S: Final = 15.0
"""A hold outlives the caller's deadline, so that a late settlement finds it or no call has the answer."""

_OURS: Final = frozenset({ErrorKind.UNAVAILABLE, ErrorKind.TIMEOUT, ErrorKind.OVERLOADED})


class _Counts(NamedTuple):
    """What one charge counts for: 1 for the call, for its model in the call, for its version in the call; else 0."""

    call: int
    model: int
    version: int


_UNCOUNTED: Final = _Counts(call=0, model=0, version=0)
_ONCE: Final = _Counts(call=1, model=1, version=1)


def charges_of(call: WaveCall) -> Sequence[Charge]:
    """A charge for each input or, of a bulk call, for each shared hold; and for the call itself where it has several or a fee.

    A call is one request however many inputs and models it has, and one for each model that it names. What the platform pays
    counts for nothing.
    """
    if len(call.items) == 1 and not call.fee:
        return (_of_input(call, call.items[0], _UNCOUNTED if call.context.free else _ONCE),)
    charges = [*(_of_shared_holds(call) if call.is_bulk else _of_inputs(call))]
    if not call.context.free:
        call.fee_hold_id = hex_id()
        counts = _Counts(call=1, model=1 if call.fee else 0, version=0)
        record = _record(call, call.request_id, counts, held_units=call.fee)
        charges.append(Charge(call.fee_hold_id, "", call.fee, counts.call, record, counts.model))
    return charges


def _of_inputs(call: WaveCall) -> Iterator[Charge]:
    """Each by itself."""
    counted = _Counted(call)
    for item in call.items:
        yield _of_input(call, item, counted.counts(item))


def _of_shared_holds(call: WaveCall) -> Iterator[Charge]:
    call.shared_holds = shared_holds(call.items, call.context)
    counted = _Counted(call)
    for hold in call.shared_holds:
        first = hold.items[0]
        counts = counted.counts(first)
        record = _record(
            call,
            call.context.request_id,
            counts,
            held_units=hold.full_units,
            item=first,
            inputs=len(hold.items),
            cached=hold.cached,
        )
        yield Charge(hold.hold_id, first.ref.qualified_name, hold.units, 0, record, counts.model)


class _Counted:
    """The models and versions of a call of several inputs that were counted: the first input of each counts it."""

    def __init__(self, call: WaveCall) -> None:
        self._is_free = call.context.free
        self._models: set[str] = set()
        self._versions: set[tuple[str, str]] = set()

    def counts(self, item: Prepared) -> _Counts:
        if self._is_free:
            return _UNCOUNTED
        name, version = item.ref.qualified_name, (item.ref.qualified_name, item.ref.version)
        counts = _Counts(call=0, model=int(name not in self._models), version=int(version not in self._versions))
        self._models.add(name)
        self._versions.add(version)
        return counts


def _of_input(call: WaveCall, item: Prepared, counts: _Counts) -> Charge:
    record = _record(
        call,
        item.request.call_id,
        counts,
        held_units=item.full_units,
        item=item,
        inputs=1,
        cached=item.entry is not None,
    )
    return Charge(item.hold_id, item.ref.qualified_name, item.units, counts.call, record, counts.model)


def _record(
    call: WaveCall,
    call_id: str,
    counts: _Counts,
    *,
    held_units: int,
    item: Prepared | None = None,
    inputs: int = 0,
    cached: bool = False,
) -> bytes:
    context = call.context
    return charging.record(
        contract=call.contract,
        request_id=call_id or context.request_id,
        operation=context.operation,
        model=item.ref.qualified_name if item else "",
        model_version=item.ref.version if item else "",
        api_version=context.api_version,
        inputs=inputs,
        cached=cached,
        requests=counts.call,
        model_requests=counts.model,
        version_requests=counts.version,
        held_units=held_units,
        client=context.client,
    )


# --- In the end ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reckoning:
    """What becomes of the holds that no worker has settled: those to be taken back, whether settled or not, and those to be
    settled by the call itself."""

    taken_back: Sequence[str] = ()
    settled: Sequence[Settlement] = ()


_NOTHING: Final = Reckoning()


def reckon(call: WaveCall) -> Reckoning:
    """Of a call whose items all have their outcomes. Sets its fee to what it pays, and the units of items that pay nothing."""
    if call.problem is not None:
        return Reckoning(call.hold_ids)
    if len(call.items) == 1 and not call.fee_hold_id:
        return _of_single(call, call.items[0])
    if call.whole and not call.is_bulk and _failed_through_us(call):
        call.fee = 0
        for item in call.items:
            item.units = 0
        return Reckoning(call.hold_ids)
    failed = [
        item.hold_id for item in call.items if not isinstance(item.outcome, bytes) and item.hold_id not in call.released
    ]
    if call.shared_holds:
        settled = [hold.settlement() for hold in call.shared_holds]
    else:
        settled = [
            Settlement(hold_id=item.hold_id, units=item.units)
            for item in call.items
            if isinstance(item.outcome, bytes) and not item.settled_by_worker
        ]
    if call.fee_hold_id:
        answered = sum(isinstance(item.outcome, bytes) for item in call.items)
        if answered == len(call.items) or (answered and not call.whole):
            settled.append(Settlement(hold_id=call.fee_hold_id))
        else:
            # It counts as a call where anything was answered, and pays its fee where no less would do.
            call.fee = 0
            if answered:
                settled.append(Settlement(hold_id=call.fee_hold_id, units=0))
            else:
                failed.append(call.fee_hold_id)
    return Reckoning(failed, settled)


def _of_single(call: WaveCall, item: Prepared) -> Reckoning:
    if not isinstance(item.outcome, bytes):
        return _NOTHING if item.hold_id in call.released else Reckoning((item.hold_id,))
    if item.settled_by_worker:
        return _NOTHING
    return Reckoning(settled=(Settlement(hold_id=item.hold_id, units=item.units),))


def _failed_through_us(call: WaveCall) -> bool:
    """Whether inputs failed, and none through a fault of its own."""
    problems = [item.outcome for item in call.items if isinstance(item.outcome, PlatformError)]
    return bool(problems) and all(problem.kind in _OURS for problem in problems)
