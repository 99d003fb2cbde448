"""The door of threads to the waves: calls of one input each that came together, begun, then waited for."""

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from billing import charging, contracts, pricing
from billing.admission import Decision
from billing.admission.on_loop import CounterLost
from billing.charging import Refused
from inference.engine import many, waves
from inference.engine.answers import Answer, result_of
from inference.engine.many import Started
from inference.engine.preparing import Prepared, prepare_single
from inference.engine.stages import completion
from inference.engine.wave_call import WaveCall
from inference.registry import live
from inference.types import CallContext, PredictRequest, PredictResult
from mlplatform.lib import clock, event_loop
from mlplatform.lib.errors import ErrorKind, PlatformError, unavailable
from tenants import scopes
from tenants.authentication import Caller
from tenants.guards import StaleCaller

logger = logging.getLogger(__name__)

_MARGIN_S: Final = 15.0
"""After its deadline a call only gives back what it took."""

_TRIES: Final = 4
_BROKEN: Final = "Something went wrong here; nothing was charged. The request id helps us to find it."
_LOST: Final = "The prediction was lost; please try again."

Member = WaveCall | Started | PlatformError


def begin_each(caller: Caller, requests: Sequence[PredictRequest], context: CallContext) -> "Singles":
    """Begin calls of one input each. Returns when it is known which are admitted.

    Raises FORBIDDEN for a scope that is lacking, and ``StaleCaller`` when the caller must be authenticated anew; then nothing was
    begun. A dependency that is away is the problem of each. What was begun must be finished; after a cancellation that takes no
    time.
    """
    singles = Singles(caller, requests, context)
    singles.wait_for_admission()
    return singles


def predict_each(caller: Caller, requests: Sequence[PredictRequest], context: CallContext) -> Answer:
    """As :func:`begin_each`, and wait for the answers."""
    return Singles(caller, requests, context).finish()


def travels(item: Prepared, context: CallContext) -> bool:
    """Whether a wave takes it: an image is unpacked by a thread, and a fee is a charge of its own."""
    if item.is_packed:
        return False
    return context.free or not pricing.call_fee(operation=context.operation, models={item.ref.qualified_name})


class Singles:
    """Calls on the way to their answers, in the order of their requests."""

    def __init__(self, caller: Caller, requests: Sequence[PredictRequest], context: CallContext) -> None:
        scopes.require(caller.scopes, context.operation)
        self._caller = caller
        self._requests = requests
        self._context = context
        self._undecided = self._open = 0
        self._tries = _TRIES
        self._decided = threading.Event()
        # A caller that takes its calls back wakes the thread that waits for them.
        self._changed = context.cancellation.changed if context.cancellation is not None else threading.Event()
        self._started = clock.monotonic()
        self._members = self._begun()

    def _begun(self) -> list[Member]:
        caller, context = self._caller, self._context
        contract, served = contracts.contract_of(caller), live.current()
        members: list[Member] = []
        waving: list[WaveCall] = []
        for request in self._requests:
            try:
                item = prepare_single(caller, request, context)
                if not travels(item, context):
                    members.append(many.begin(caller, [request], context))
                    continue
            except PlatformError as problem:
                members.append(problem)
                continue
            except StaleCaller:
                if not any(isinstance(member, Started) for member in members):
                    raise
                members.append(_changing())
                continue
            call = WaveCall(
                contract,
                context,
                item,
                limits=contract.limits_for((item.ref.qualified_name,)),
                served=served,
                started=self._started,
                deadline=self._started + context.timeout_s,
                done=self._ended,
                decided=self._was_decided,
            )
            members.append(call)
            waving.append(call)
        self._undecided = self._open = len(waving)
        if waving:
            event_loop.tell(waves.join, waving)
        else:
            self._decided.set()
        return members

    @property
    def _waving(self) -> list[WaveCall]:
        return [member for member in self._members if isinstance(member, WaveCall)]

    def wait_for_admission(self) -> None:
        """Raises ``StaleCaller`` where that keeps all of them from being admitted."""
        self._decided.wait()
        while self._rebuild_counters():
            self._decided.wait()
        self._raise_if_stale()

    def finish(self) -> Answer:
        """Wait for all. A result or a problem for each. Raises ``StaleCaller`` where none was admitted for it."""
        self._wait()
        while self._rebuild_counters():
            self._wait()
        self._raise_if_stale()
        results: list[PredictResult | PlatformError] = []
        decision: Decision | None = None
        for member in self._members:
            result, state = self._result(member)
            results.append(result)
            decision = state or decision
        units = sum(result.units for result in results if isinstance(result, PredictResult))
        return Answer(tuple(results), units, decision)

    def _rebuild_counters(self) -> bool:
        """Have the counters of the month that were lost made anew, for which this thread may ask SQL, and the calls that met
        them admitted once more; whether there were any."""
        lost = [call for call in self._waving if isinstance(call.outcome, CounterLost)]
        if not lost:
            return False
        self._tries -= 1
        problem: PlatformError | StaleCaller | None = None if self._tries else unavailable(_LOST)
        if problem is None:
            try:
                for limits in {id(call.limits): call.limits for call in lost}.values():
                    charging.peek(contract=lost[0].contract, limits=limits)
            except (PlatformError, StaleCaller) as error:
                problem = error
        if problem is not None:
            for call in lost:
                call.outcome = problem
            return False
        self._decided.clear()
        event_loop.call(partial(self._begin_anew, lost))
        return True

    def _begin_anew(self, calls: Sequence[WaveCall]) -> None:
        """Of the loop's thread, which alone counts: others of these calls may be under way."""
        for call in calls:
            call.begin_anew(decided=self._was_decided)
        self._undecided += len(calls)
        self._open += len(calls)
        waves.join(calls)

    def _raise_if_stale(self) -> None:
        if any(isinstance(member, Started) or _is_begun(member) for member in self._members):
            return
        for member in self._members:
            if isinstance(member, WaveCall) and isinstance(member.outcome, StaleCaller):
                raise member.outcome

    def _result(self, member: Member) -> tuple[PredictResult | PlatformError, Decision | None]:
        if isinstance(member, PlatformError):
            return member, member.decision if isinstance(member, Refused) else None
        if isinstance(member, Started):
            try:
                answer = member.finish()
            except PlatformError as problem:
                return problem, None
            result = answer.results[0]
            # The fee is part of what a call of one input says that it costs.
            told = replace(result, units=answer.units) if isinstance(result, PredictResult) else result
            return told, answer.decision
        outcome = member.outcome
        if isinstance(outcome, bytes):
            return self._rendered(member, outcome), member.decision
        if isinstance(outcome, PlatformError):
            return outcome, member.decision
        if isinstance(outcome, StaleCaller):
            return _changing(), None
        if outcome is not None and len(self._members) > 1:
            return PlatformError(ErrorKind.INTERNAL, _BROKEN), None
        raise outcome or unavailable(_LOST)

    @staticmethod
    def _rendered(call: WaveCall, scores: bytes) -> PredictResult:
        try:
            return result_of(call.item, scores, call.started)
        except Exception:
            # It is paid by now, and its caller gets no answer.
            charging.take_back(call.contract.subject, call.item.hold_id)
            raise

    # --- Between the threads -----------------------------------------------------------------------------------------

    def _was_decided(self, call: WaveCall) -> None:
        self._undecided -= 1
        if not self._undecided:
            self._decided.set()

    def _ended(self, call: WaveCall) -> None:
        self._open -= 1
        if not self._open:
            self._changed.set()

    def _wait(self) -> None:
        cancellation = self._context.cancellation
        until = self._started + self._context.timeout_s + _MARGIN_S
        is_canceled = False
        while self._open:
            if not self._changed.wait(max(0.0, until - clock.monotonic())) and self._open:
                logger.error("calls that should have ended long ago have not: %s", self._open)
                raise unavailable(_LOST)
            # Cleared before the next look: what happens from here on sets it again.
            self._changed.clear()
            if cancellation is not None and cancellation.canceled and not is_canceled:
                is_canceled = True
                for call in self._waving:
                    event_loop.tell(completion.give_up, call)


def _is_begun(member: Member) -> bool:
    return isinstance(member, WaveCall) and member.is_admitted


def _changing() -> PlatformError:
    return unavailable("This key is being changed; please try again.")
