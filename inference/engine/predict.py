"""The one entry point of every face: from a parsed call to its answers. It reads from top to bottom."""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from billing import admission, charging, contracts
from billing.admission import Decision
from billing.charging import Refused
from billing.contracts import Contract
from inference.engine import bulk, observe
from inference.engine.bulk import BulkComputation
from inference.engine.charges import Call
from inference.engine.computing import HOLD_MARGIN_S, Computation, require_in_time
from inference.engine.permits import permits
from inference.engine.preparing import Prepared, prepare
from inference.types import CallContext, LabelScore, PredictRequest, PredictResult
from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind, PlatformError, unavailable
from tenants import scopes
from tenants.authentication import Caller
from tenants.guards import StaleCaller

_OURS: Final = frozenset({ErrorKind.UNAVAILABLE, ErrorKind.TIMEOUT, ErrorKind.OVERLOADED})


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call gets: a result or a problem for each input in order, the units of all, and the limits after it.

    ``decision`` is None when no input was good enough to be admitted.
    """

    results: tuple[PredictResult | PlatformError, ...]
    units: int
    decision: Decision | None


def predict(caller: Caller, request: PredictRequest, context: CallContext) -> Answer:
    """One input. Raises its problem; what was not answered is not charged."""
    answer = begin(caller, (request,), context, separate=True).finish()
    single(answer)
    return answer


def single(answer: Answer) -> PredictResult:
    """The result of a call of one input that :func:`predict` answered."""
    result = answer.results[0]
    if isinstance(result, PlatformError):
        raise result
    return result


def predict_many(
    caller: Caller, requests: Sequence[PredictRequest], context: CallContext, *, whole: bool = False
) -> Answer:
    """Many inputs, of several models if need be, admitted at once; each gets its result or its problem.

    With ``whole``, for protocols without partial answers, the problem of an input is raised before anything is admitted,
    and the fee of the call is paid only when every input was answered; nothing is when it failed through no fault of its
    inputs. Raises ``PlatformError`` for what concerns the call as a whole (scope, limits, a dependency that is away) and
    ``StaleCaller`` when the caller must be authenticated anew.
    """
    return begin(caller, requests, context, whole=whole).finish()


def predict_each(caller: Caller, requests: Sequence[PredictRequest], context: CallContext) -> Answer:
    """Calls of one input each that came together: admitted in one round trip, but counted, charged and answered each by
    itself, so that one which its limits refuse leaves the others. Raises as :func:`predict_many` does, but for limits.
    """
    return begin(caller, requests, context, separate=True).finish()


def begin(
    caller: Caller,
    requests: Sequence[PredictRequest],
    context: CallContext,
    *,
    separate: bool = False,
    whole: bool = False,
) -> "Started":
    """Admit and submit without waiting for the answers. ``separate`` has the meaning of :func:`predict_each`, ``whole``
    that of :func:`predict_many`.

    Raises as :func:`predict_many` does. Whoever began must finish, for the sake of equal inputs that wait; after a
    cancellation that takes no time.
    """
    started = clock.monotonic()
    deadline = started + context.timeout_s
    scopes.require(caller.scopes, context.operation)
    contract = contracts.contract_of(caller)
    prepared = prepare(caller, requests, context, deadline)
    good = [item for item in prepared if isinstance(item, Prepared)]
    if whole and len(good) < len(prepared):
        _leave(good)
        raise next(item for item in prepared if isinstance(item, PlatformError))
    call = Started(
        contract,
        context,
        prepared,
        started=started,
        separate=separate,
        whole=whole,
        bulk=whole and len(good) > bulk.MOST_HELD_APART,
    )
    if good:
        call.take_place(good)
        try:
            call.admit([Call([item]) for item in good] if separate else [Call(good)])
            call.compute(deadline)
        except BaseException:
            call.leave_place()
            raise
    return call


@dataclass(slots=True)
class Started:
    """A call, or calls that came together, on the way to their answers."""

    contract: Contract
    context: CallContext
    prepared: Sequence[Prepared | PlatformError]
    started: float = field(kw_only=True)
    separate: bool = field(kw_only=True)
    whole: bool = field(kw_only=True)
    bulk: bool = field(kw_only=True)
    """Whether its inputs share a few holds, which the call itself settles: see :mod:`inference.engine.bulk`."""
    calls: list[Call] = field(default_factory=list)
    refusals: dict[str, PlatformError] = field(default_factory=dict)
    decision: Decision | None = None
    computation: Computation | BulkComputation | None = None
    _waits: bool = False

    @property
    def admitted(self) -> list[Prepared]:
        return [item for call in self.calls for item in call.items]

    def take_place(self, good: Sequence[Prepared]) -> None:
        """Before anything is charged: a place to wait, and workers that can answer before the caller's deadline.

        Raises OVERLOADED where one is missing. Calls that a cache answers need neither.
        """
        unanswered = [item for item in good if item.entry is None]
        if not unanswered:
            return
        contract = self.contract
        tenant_id = contract.subject.tenant_id
        try:
            if self.context.holds_thread:
                permits().take(tenant_id, weight=contract.weight)
                self._waits = True
            again = bulk.repeated(unanswered, self.context) if self.bulk else ()
            computed = [item for item in unanswered if item.joined is None and item.hold_id not in again]
            require_in_time(contract, computed, timeout_s=self.context.timeout_s)
        except PlatformError:
            self.leave_place()
            _leave(good)
            raise

    def leave_place(self) -> None:
        """The call waits no longer."""
        if self._waits:
            self._waits = False
            permits().give(self.contract.subject.tenant_id)

    def admit(self, calls: list[Call]) -> None:
        """All in one round trip. Separate calls of which the limits refuse some are admitted one after the other."""
        try:
            self._admit(calls)
        except Refused as refusal:
            if not self.separate:
                raise
            if len(calls) == 1:
                self.refusals[calls[0].items[0].hold_id] = refusal
                self.decision = refusal.decision
                return
            for number, call in enumerate(calls, start=1):
                try:
                    self._admit_alone(call)
                except StaleCaller:
                    _leave(item for later in calls[number:] for item in later.items)
                    raise

    def compute(self, deadline: float) -> None:
        """Submit what was admitted; returns at once."""
        computing = BulkComputation if self.bulk else Computation
        self.computation = computing(self.contract, self.admitted, self.context, deadline)
        try:
            self.computation.begin()
        except BaseException:
            held = [call for call in self.calls if not call.metered]
            _leave(item for call in held for item in call.items)
            charging.take_back(self.contract.subject, *(hold_id for call in held for hold_id in call.hold_ids))
            raise

    def _admit_alone(self, call: Call) -> None:
        """What goes wrong from here on is this call's own problem: others of the same group may be admitted already."""
        try:
            self.admit([call])
        except PlatformError as problem:
            self.refusals[call.items[0].hold_id] = problem
        except StaleCaller:
            if not self.calls:
                raise
            self.refusals[call.items[0].hold_id] = unavailable("This key is being changed; please try again.")

    def finish(self) -> Answer:
        """Wait for every input; settle what no worker settles; an answer or a problem for each, in order."""
        try:
            outcomes = self.computation.finish() if self.computation is not None else {}
        except PlatformError:
            # Of a bulk call: whatever fails for one input of it fails for all.
            charging.take_back(self.contract.subject, *(hold_id for call in self.calls for hold_id in call.hold_ids))
            raise
        finally:
            self.leave_place()
        self._settle(outcomes)
        self._take_back_whole(outcomes)
        fees = {call.items[0].hold_id: call.fee for call in self.calls if call.fee}
        results: list[PredictResult | PlatformError] = []
        for item in self.prepared:
            if isinstance(item, PlatformError):
                results.append(item)
                continue
            outcome = self.refusals.get(item.hold_id) or outcomes[item.hold_id]
            if isinstance(outcome, PlatformError):
                results.append(outcome)
            else:
                result = _result(item, outcome, self.started)
                if self.separate and item.hold_id in fees:
                    result = replace(result, units=result.units + fees[item.hold_id])
                results.append(result)
        units = sum(result.units for result in results if isinstance(result, PredictResult))
        if not self.separate:
            units += sum(call.fee for call in self.calls if self._is_earned(call, outcomes))
        observe.note(self.contract.subject, self.context, self.prepared, outcomes, started=self.started)
        return Answer(tuple(results), units, self.decision)

    # --- Admit: one round trip for everything ------------------------------------------------------------------------

    def _admit(self, calls: Sequence[Call]) -> None:
        contract, context = self.contract, self.context
        charges = [charge for call in calls for charge in call.charges(contract, context, bulk_call=self.bulk)]
        models = {item.ref.qualified_name for call in calls for item in call.items}
        metered = all(item.entry is not None for call in calls for item in call.items)
        try:
            self.decision = charging.charge(
                contract=contract,
                limits=contract.limits_for(models),
                charges=charges,
                request_id=context.request_id
                if len(calls) > 1
                else calls[0].items[0].request.call_id or context.request_id,
                hold_ttl_s=context.timeout_s + HOLD_MARGIN_S,
                settle_now=metered,
            )
        except BaseException as error:
            # Separate calls are tried again one by one, and keep the computations that they joined until then.
            if not (isinstance(error, Refused) and self.separate and len(calls) > 1):
                _leave([item for call in calls for item in call.items])
            raise
        for call in calls:
            call.metered = metered
        self.calls += calls

    # --- Finish: settle what no worker settles -----------------------------------------------------------------------

    def _settle(self, outcomes: dict[str, bytes | PlatformError]) -> None:
        """Cached and joined inputs of calls that were not metered at admission, and the fees that were earned."""
        settled: list[admission.Settlement] = []
        unearned: list[str] = []
        for call in self.calls:
            if call.metered:
                continue
            settled += [group.settlement() for group in call.groups]
            settled += [
                admission.Settlement(hold_id=item.hold_id, units=item.units)
                for item in (() if call.groups else call.items)
                if not item.settled_by_worker and not isinstance(outcomes[item.hold_id], PlatformError)
            ]
            if not call.fee_hold_id:
                continue
            if self._is_earned(call, outcomes):
                settled.append(admission.Settlement(hold_id=call.fee_hold_id))
            elif call.is_answered(outcomes):
                settled.append(admission.Settlement(hold_id=call.fee_hold_id, units=0))
            else:
                unearned.append(call.fee_hold_id)
        subject = self.contract.subject
        if unearned:
            charging.take_back(subject, *unearned)
        if settled:
            try:
                admission.settle(tenant_id=subject.tenant_id, shard=subject.shard, holds=settled)
            except PlatformError as problem:
                # What workers have settled is paid and is given; what could not be settled is not.
                failed = {hold.hold_id for hold in settled}
                charging.take_back(subject, *failed)
                if self.bulk:
                    raise
                outcomes.update(dict.fromkeys(failed, problem))
                for call in self.calls:
                    call.fee = 0 if call.fee_hold_id in failed else call.fee

    def _take_back_whole(self, outcomes: dict[str, bytes | PlatformError]) -> None:
        """A call that gets no partial answer and failed through no fault of its inputs pays for none of them."""
        problems = [outcome for outcome in outcomes.values() if isinstance(outcome, PlatformError)]
        if self.whole and not self.bulk and problems and all(problem.kind in _OURS for problem in problems):
            charging.take_back(self.contract.subject, *(hold_id for call in self.calls for hold_id in call.hold_ids))
            for item in self.admitted:
                item.units = 0

    def _is_earned(self, call: Call, outcomes: dict[str, bytes | PlatformError]) -> bool:
        """Whether the call pays its fee: something was answered, or all of it where no less would do."""
        if not self.whole:
            return call.is_answered(outcomes)
        return all(not isinstance(outcomes[item.hold_id], PlatformError) for item in call.items)


def _leave(items: Iterable[Prepared]) -> None:
    for item in items:
        if item.joined is not None:
            item.joined.leave()


def _result(item: Prepared, scores: bytes, started: float) -> PredictResult:
    predictions: tuple[LabelScore, ...] | None = None
    embedding: npt.NDArray[np.float32] | None = None
    if item.ref.is_embedding:
        embedding = np.frombuffer(scores, dtype=np.float32)
    else:
        predictions = ranked(scores, item.ref.labels, item.request.top_k)
    return PredictResult(
        id=item.hold_id,
        model=item.ref.name,
        model_version=item.ref.version,
        predictions=predictions,
        embedding=embedding,
        units=item.units,
        cached=item.cached,
        age_s=item.entry.age_s() if item.entry else 0,
        latency_ms=round((clock.monotonic() - started) * 1000, 3),
        deprecation=item.deprecation,
        vector_name=item.ref.vector_name,
        truncated=item.entry.length if item.entry else item.length,
    )


@lru_cache(maxsize=4096)
def ranked(scores: bytes, labels: tuple[str, ...], top_k: int | None) -> tuple[LabelScore, ...]:
    """Labels with their scores, best first. Kept, because what is cached is asked for again."""
    ranked = sorted(zip(array("f", scores), labels, strict=True), key=lambda pair: -pair[0])[:top_k]
    return tuple([LabelScore(label, score) for score, label in ranked])
