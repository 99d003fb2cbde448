"""A call of several inputs, or of one that waves do not take, on the thread of its caller: prepare → admit → compute → finish."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from billing import admission, charging, contracts
from billing.admission import Decision
from billing.contracts import Contract
from inference.engine import bulk, observe
from inference.engine.answers import Answer, result_of
from inference.engine.bulk import BulkComputation
from inference.engine.charges import Call
from inference.engine.computing import HOLD_MARGIN_S, Computation, require_in_time
from inference.engine.permits import permits
from inference.engine.preparing import Prepared, prepare
from inference.engine.undo import Undo
from inference.registry import live
from inference.registry.live import LiveVersions
from inference.types import CallContext, PredictRequest, PredictResult
from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants import scopes
from tenants.authentication import Caller

_OURS: Final = frozenset({ErrorKind.UNAVAILABLE, ErrorKind.TIMEOUT, ErrorKind.OVERLOADED})


def begin(
    caller: Caller, requests: Sequence[PredictRequest], context: CallContext, *, whole: bool = False
) -> "Started":
    """Admit and submit without waiting for the answers; ``whole`` has the meaning of ``predict.predict_many``.

    Raises as that does. What was begun must be finished, for equal inputs may wait for it; after a
    cancellation that takes no time.

    What a call takes on its way (a place with an equal computation, a permit, holds, the computation with its leases) goes onto
    ``undo`` as it is taken: when a step fails, here or in :meth:`Started.finish`, all of it is given back, last taken first.
    """
    started = clock.monotonic()
    deadline = started + context.timeout_s
    scopes.require(caller.scopes, context.operation)
    contract = contracts.contract_of(caller)
    with Undo() as undo:
        prepared = prepare(caller, requests, context, deadline, undo)
        good = [item for item in prepared if isinstance(item, Prepared)]
        if whole and len(good) < len(prepared):
            raise next(item for item in prepared if isinstance(item, PlatformError))
        call = Started(
            contract,
            context,
            prepared,
            undo,
            served=live.current(),
            started=started,
            whole=whole,
            bulk=whole and len(good) > bulk.MOST_HELD_APART,
        )
        if good:
            call.take_permit(good)
            call.admit(Call(good))
            call.compute(deadline)
    return call


@dataclass(slots=True)
class Started:
    """A call on the way to its answers."""

    contract: Contract
    context: CallContext
    prepared: Sequence[Prepared | PlatformError]
    undo: Undo
    """Gives back what the call has taken so far."""
    served: LiveVersions = field(kw_only=True)
    started: float = field(kw_only=True)
    whole: bool = field(kw_only=True)
    bulk: bool = field(kw_only=True)
    """Whether its inputs share a few holds, which the call itself settles: see :mod:`inference.engine.bulk`."""
    call: Call | None = None
    """What was admitted."""
    decision: Decision | None = None
    computation: Computation | BulkComputation | None = None
    _has_permit: bool = False
    _is_cached: bool = True

    @property
    def admitted(self) -> Sequence[Prepared]:
        return self.call.items if self.call is not None else ()

    def take_permit(self, good: Sequence[Prepared]) -> None:
        """Before anything is charged: a permit to wait, and workers that can answer before the caller's deadline.

        Raises OVERLOADED where one is missing. Calls that a cache answers need neither.
        """
        unanswered = [item for item in good if item.entry is None]
        if not unanswered:
            return
        self._is_cached = False
        contract = self.contract
        if self.context.holds_thread:
            permits().take(contract.subject.tenant_id, weight=contract.weight)
            self._has_permit = True
            self.undo.callback(self.give_permit)
        again = bulk.repeated(unanswered, self.context) if self.bulk else ()
        computed = [item for item in unanswered if item.joined is None and item.hold_id not in again]
        require_in_time(contract, computed, timeout_s=self.context.timeout_s)
        # Ahead of admission, of which a part may be done when the rest fails.
        self.undo.callback(self._take_back)

    def give_permit(self) -> None:
        """The call waits no longer; safe to repeat."""
        if self._has_permit:
            self._has_permit = False
            permits().give(self.contract.subject.tenant_id)

    def admit(self, call: Call) -> None:
        """All in one round trip. Raises ``Refused``, ``StaleCaller`` or UNAVAILABLE."""
        contract, context = self.contract, self.context
        metered = all(item.entry is not None for item in call.items)
        self.decision = charging.charge(
            contract=contract,
            limits=contract.limits_for({item.ref.qualified_name for item in call.items}),
            charges=list(call.charges(contract, context, bulk_call=self.bulk)),
            request_id=call.items[0].request.call_id or context.request_id,
            hold_ttl_s=context.timeout_s + HOLD_MARGIN_S,
            settle_now=metered,
        )
        call.metered = metered
        self.call = call

    def compute(self, deadline: float) -> None:
        """Submit what was admitted; returns at once."""
        computing = BulkComputation if self.bulk else Computation
        self.computation = computing(self.contract, self.admitted, self.context, deadline)
        self.computation.begin(self.undo)

    def _take_back(self) -> None:
        """What is held for the call; what was metered at its admission was answered by then, and stays."""
        if self.call is not None and not self.call.metered:
            charging.take_back(self.contract.subject, *self.call.hold_ids)

    def finish(self) -> Answer:
        """Wait for every input; settle what no worker settles; an answer or a problem for each, in order."""
        with self.undo:
            outcomes = self.computation.finish() if self.computation is not None else {}
            self.give_permit()
            self._settle(outcomes)
            self._take_back_whole(outcomes)
            answer = self._answer(outcomes)
        if not self._is_cached:
            self.undo.pop_all()  # Its callbacks are methods of this call: a circle that would outlive it.
        observe.note(
            self.contract.subject, self.context, self.prepared, outcomes, started=self.started, now=self.served
        )
        return answer

    def _answer(self, outcomes: dict[str, bytes | PlatformError]) -> Answer:
        """A result or a problem for each input, in order, and the units of all."""
        results: list[PredictResult | PlatformError] = []
        for item in self.prepared:
            if isinstance(item, PlatformError):
                results.append(item)
                continue
            outcome = outcomes[item.hold_id]
            results.append(result_of(item, outcome, self.started) if isinstance(outcome, bytes) else outcome)
        units = sum(result.units for result in results if isinstance(result, PredictResult))
        if self.call is not None and self.call.fee and self._is_earned(self.call, outcomes):
            units += self.call.fee
        return Answer(tuple(results), units, self.decision)

    # --- Finish: settle what no worker settles -----------------------------------------------------------------------

    def _settle(self, outcomes: dict[str, bytes | PlatformError]) -> None:
        """Cached and joined inputs of a call that was not metered at admission, and the fee if it was earned."""
        call = self.call
        if call is None or call.metered:
            return
        settled = [group.settlement() for group in call.groups]
        settled += [
            admission.Settlement(hold_id=item.hold_id, units=item.units)
            for item in (() if call.groups else call.items)
            if not item.settled_by_worker and not isinstance(outcomes[item.hold_id], PlatformError)
        ]
        unearned = False
        if call.fee_hold_id:
            if self._is_earned(call, outcomes):
                settled.append(admission.Settlement(hold_id=call.fee_hold_id))
            elif call.is_answered(outcomes):
                settled.append(admission.Settlement(hold_id=call.fee_hold_id, units=0))
            else:
                unearned = True
        subject = self.contract.subject
        if unearned:
            charging.take_back(subject, call.fee_hold_id)
        if settled:
            try:
                admission.settle(tenant_id=subject.tenant_id, shard=subject.shard, holds=settled)
            except PlatformError as problem:
                if self.bulk:
                    raise
                # What workers have settled is paid and is given; what could not be settled is not.
                failed = {hold.hold_id for hold in settled}
                charging.take_back(subject, *failed)
                outcomes.update(dict.fromkeys(failed, problem))
                call.fee = 0 if call.fee_hold_id in failed else call.fee

    def _take_back_whole(self, outcomes: dict[str, bytes | PlatformError]) -> None:
        """A call that gets no partial answer and failed through no fault of its inputs pays for none of them."""
        if not self.whole or self.bulk or self.call is None:
            return
        problems = [outcome for outcome in outcomes.values() if isinstance(outcome, PlatformError)]
        if problems and all(problem.kind in _OURS for problem in problems):
            charging.take_back(self.contract.subject, *self.call.hold_ids)
            for item in self.admitted:
                item.units = 0

    def _is_earned(self, call: Call, outcomes: dict[str, bytes | PlatformError]) -> bool:
        """Whether the call pays its fee: something was answered, or all of it where no less would do."""
        if not self.whole:
            return call.is_answered(outcomes)
        return all(not isinstance(outcomes[item.hold_id], PlatformError) for item in call.items)
