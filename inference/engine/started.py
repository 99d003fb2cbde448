"""The door of threads to the waves: calls of one caller, begun, then waited for."""

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from billing import charging, contracts, pricing
from billing.admission import Decision
from billing.admission.on_loop import CounterLost
from billing.charging import Refused
from inference.engine import shared_holds, waves
from inference.engine.answers import Answer, result_of
from inference.engine.preparing import Prepared, prepare, prepare_single
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


class Started(ABC):
    """Calls on the way to their answers. What was started must be finished; after a cancellation that takes no time.

    Made by :func:`one` or :func:`each`.
    """

    def __init__(self, caller: Caller, context: CallContext) -> None:
        scopes.require(caller.scopes, context.operation)
        self.started = clock.monotonic()
        self._context = context
        self._contract = contracts.contract_of(caller)
        self._served = live.current()
        self._tries = _TRIES
        self._undecided = self._open = 0
        self._decided = threading.Event()
        # A caller that takes its calls back wakes the thread that waits for them.
        self._changed = context.cancellation.changed if context.cancellation is not None else threading.Event()
        self.calls: list[WaveCall] = []

    def wait_for_admission(self) -> None:
        """Until it is known which are admitted, and what is not at hand is on its way. Raises ``StaleCaller`` where that keeps
        all from being admitted."""
        self._decided.wait()
        while self._rebuild_counters():
            self._decided.wait()
        self._raise_if_stale()

    def finish(self) -> Answer:
        """Wait for all. A result or a problem for each input, in order. Raises ``StaleCaller`` where none was admitted for it."""
        self._wait()
        while self._rebuild_counters():
            self._wait()
        self._raise_if_stale()
        return self._answer()

    @abstractmethod
    def _answer(self) -> Answer:
        """Of calls that have ended."""

    def _call(self, items: Sequence[Prepared], *, whole: bool = False) -> WaveCall:
        context, contract = self._context, self._contract
        models = {item.ref.qualified_name for item in items}
        call = WaveCall(
            contract,
            context,
            items,
            limits=contract.limits_for(models),
            served=self._served,
            started=self.started,
            deadline=self.started + context.timeout_s,
            done=self._ended,
            decided=self._was_decided,
            fee=0 if context.free else pricing.call_fee(operation=context.operation, models=models),
            whole=whole,
            is_bulk=whole and len(items) > shared_holds.MOST_HELD_APART,
        )
        self.calls.append(call)
        return call

    def _begin(self) -> None:
        self._undecided = self._open = len(self.calls)
        if self.calls:
            event_loop.tell(waves.join, self.calls)
        else:
            self._decided.set()

    def _rebuild_counters(self) -> bool:
        """Have the counters of the month that were lost made anew, for which this thread may ask SQL, and the calls that met
        them admitted once more; whether there were any."""
        lost = [call for call in self.calls if isinstance(call.problem, CounterLost)]
        if not lost:
            return False
        self._tries -= 1
        problem: PlatformError | StaleCaller | None = None if self._tries else unavailable(_LOST)
        if problem is None:
            try:
                for limits in {id(call.limits): call.limits for call in lost}.values():
                    charging.peek(contract=self._contract, limits=limits)
            except (PlatformError, StaleCaller) as error:
                problem = error
        if problem is not None:
            for call in lost:
                call.problem = problem
            return False
        self._decided.clear()
        event_loop.call(partial(self._begin_anew, lost))
        return True

    def _begin_anew(self, calls: Sequence[WaveCall]) -> None:
        """Of the loop's thread, which alone counts: others of these calls may be under way."""
        for call in calls:
            call.begin_anew(done=self._ended, decided=self._was_decided)
        self._undecided += len(calls)
        self._open += len(calls)
        waves.join(calls)

    def _raise_if_stale(self) -> None:
        if any(call.is_admitted for call in self.calls):
            return
        for call in self.calls:
            if isinstance(call.problem, StaleCaller):
                raise call.problem

    def _result(self, call: WaveCall, item: Prepared) -> PredictResult | PlatformError:
        """Raises the problem of the call as a whole, and a bug that lost the answer."""
        if call.problem is not None:
            raise call.problem
        if not isinstance(item.outcome, bytes):
            return item.outcome or unavailable(_LOST)
        try:
            return result_of(item, item.outcome, self.started)
        except Exception:
            # It is paid by now, and its caller gets no answer.
            charging.take_back(call.contract.subject, *call.hold_ids)
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
        until = self.started + self._context.timeout_s + _MARGIN_S
        is_canceled = False
        while self._open:
            if cancellation is not None and cancellation.canceled and not is_canceled:
                is_canceled = True
                for call in self.calls:
                    event_loop.tell(completion.give_up, call)
            if not self._changed.wait(max(0.0, until - clock.monotonic())) and self._open:
                logger.error("calls that should have ended long ago have not: %s", self._open)
                raise unavailable(_LOST)
            # Cleared before the next look: what happens from here on sets it again.
            self._changed.clear()


class _One(Started):
    def __init__(
        self, caller: Caller, requests: Sequence[PredictRequest], context: CallContext, *, whole: bool
    ) -> None:
        super().__init__(caller, context)
        self._members = prepare(caller, requests, context)
        good = [item for item in self._members if isinstance(item, Prepared)]
        if whole and len(good) < len(self._members):
            raise next(item for item in self._members if isinstance(item, PlatformError))
        if good:
            self._call(good, whole=whole)
        self._begin()

    def wait_for_admission(self) -> None:
        super().wait_for_admission()
        for call in self.calls:
            if call.problem is not None and not call.is_admitted:
                raise call.problem

    def _answer(self) -> Answer:
        if not self.calls:
            return Answer(tuple(each for each in self._members if isinstance(each, PlatformError)), 0, None)
        (call,) = self.calls
        results = tuple([self._result(call, item) if isinstance(item, Prepared) else item for item in self._members])
        units = sum(result.units for result in results if isinstance(result, PredictResult))
        return Answer(results, units + (call.fee if call.is_admitted else 0), call.decision)


class _Each(Started):
    def __init__(self, caller: Caller, requests: Sequence[PredictRequest], context: CallContext) -> None:
        super().__init__(caller, context)
        self._members: list[WaveCall | PlatformError] = []
        for request in requests:
            try:
                self._members.append(self._call([prepare_single(caller, request, context)]))
            except PlatformError as problem:
                self._members.append(problem)
        self._begin()

    def _answer(self) -> Answer:
        results: list[PredictResult | PlatformError] = []
        decision: Decision | None = None
        for member in self._members:
            if isinstance(member, PlatformError):
                results.append(member)
                continue
            results.append(self._own_result(member))
            decision = _decision_of(member) or decision
        units = sum(result.units for result in results if isinstance(result, PredictResult))
        return Answer(tuple(results), units, decision)

    def _own_result(self, call: WaveCall) -> PredictResult | PlatformError:
        """What goes wrong with a call is the problem of its input, unless it came alone."""
        if isinstance(call.problem, StaleCaller):
            return unavailable("This key is being changed; please try again.")
        if isinstance(call.problem, PlatformError):
            return call.problem
        try:
            result = self._result(call, call.items[0])
        except Exception:
            if len(self._members) == 1:
                raise
            logger.exception("a call that came with others failed")
            return PlatformError(ErrorKind.INTERNAL, _BROKEN)
        if call.fee and isinstance(result, PredictResult):
            # The fee is part of what a call of one input says that it costs.
            return replace(result, units=result.units + call.fee)
        return result


def _decision_of(call: WaveCall) -> Decision | None:
    return call.problem.decision if isinstance(call.problem, Refused) else call.decision


def one(caller: Caller, requests: Sequence[PredictRequest], context: CallContext, *, whole: bool) -> Started:
    """All inputs as one call, admitted together; ``whole`` has the meaning of ``predict.predict_many``."""
    return _One(caller, requests, context, whole=whole)


def each(caller: Caller, requests: Sequence[PredictRequest], context: CallContext) -> Started:
    """Each input as a call of its own."""
    return _Each(caller, requests, context)
