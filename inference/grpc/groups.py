"""Inputs of a stream that are admitted together: read, begun, finished, each with its answer or its problem."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from billing.admission import LimitKind
from billing.admission.on_loop import CounterLost
from billing.charging import Refused
from billing.contracts import Contract, contract_of
from inference.engine import plans
from inference.engine import predict as prediction
from inference.engine.plans import CallerPlan
from inference.engine.predict import Answer, Started
from inference.engine.stages import completion
from inference.engine.wave_call import WaveCall
from inference.grpc import door, messages
from inference.grpc.generated import ml_inference_pb2 as pb
from inference.grpc.messages import Malformed
from inference.types import CallContext, PredictRequest, PredictResult
from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind, PlatformError, unavailable
from tenants.authentication import Caller
from tenants.guards import StaleCaller
from tenants.http import problems

Item = pb.PredictRequest | Malformed | bytes
"""Bytes are a large message, which a thread parses."""
ItemResult = PredictResult | PlatformError

_ENDS_THE_STREAM: Final = frozenset({ErrorKind.UNAUTHENTICATED, ErrorKind.FORBIDDEN, ErrorKind.TOO_MANY_ATTEMPTS})
"""What concerns the key, not an input: every further input would meet it too."""

_PAUSE_S: Final = 0.02

_MOST_BYTES: Final = 4 * door.MOST_BYTES
"""Of inputs that are read in one turn of the loop."""


@dataclass(slots=True, eq=False)
class Group:
    """What came, what it means or its problem, the request id of each, and the prediction that was begun."""

    items: list[Item]
    parsed: list[PredictRequest | PlatformError] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    caller: Caller | None = None
    _context: CallContext | None = None
    _calls: list[WaveCall] = field(default_factory=list)
    """Those that went to the waves without a thread."""
    _open: int = 0
    _undecided: int = 0
    _decided: "asyncio.Future[None] | None" = None
    _ended: "asyncio.Future[None] | None" = None
    _started: Started | None = None
    _problem: PlatformError | None = None
    answer: Answer | None = None
    """What was answered to :attr:`wanted`, after :meth:`outcomes`."""

    @property
    def wanted(self) -> list[PredictRequest]:
        """The requests that could be read."""
        return [item for item in self.parsed if isinstance(item, PredictRequest)]

    @property
    def is_large(self) -> bool:
        """Whether a thread must read it: one of its inputs is large, or they are together."""
        return (
            any(isinstance(item, bytes) for item in self.items) or sum(map(messages.weight, self.items)) > _MOST_BYTES
        )

    def read(self, *, request_id: str, first: int) -> None:
        """Parse what came; inputs without an id of their own are ``<request id>.<number>``, counted from ``first``."""
        self.parsed.clear()
        self.ids.clear()
        for index, item in enumerate(self.items):
            own = f"{request_id}.{first + index}"
            if isinstance(item, bytes):
                item = self.items[index] = messages.read(item)
            try:
                parsed: PredictRequest | PlatformError = messages.parse(item, call_id=own)
            except PlatformError as problem:
                parsed = problem
            self.parsed.append(parsed)
            self.ids.append(parsed.call_id if isinstance(parsed, PredictRequest) else own)

    # --- On the loop -------------------------------------------------------------------------------------------------

    async def join(self, plan: CallerPlan, context: CallContext) -> bool:
        """Have the waves take what is wanted, and wait until it is known what is admitted; false where a thread must begin it,
        and nothing was done."""
        wanted = self.wanted
        loop = asyncio.get_running_loop()
        self._decided, self._ended = loop.create_future(), loop.create_future()
        self._open = self._undecided = len(wanted)
        joined = door.join(plan, wanted, context, done=self._one_ended, decided=self._one_decided)
        if joined is None:
            return False
        self._calls = joined
        await self._decided
        if all(_is_stale(call) for call in joined):
            # A thread reads the caller, or the counter, anew. Nothing was taken.
            plans.forget()
            self._calls = []
            return False
        self.caller, self._context = plan.caller, context
        return True

    def _one_decided(self, call: WaveCall) -> None:
        self._undecided -= 1
        if not self._undecided and self._decided is not None:
            door.tell(self._decided)

    def _one_ended(self, call: WaveCall) -> None:
        self._open -= 1
        if not self._open and self._ended is not None:
            door.tell(self._ended)

    async def settled(self) -> None:
        """Wait for what went to the waves."""
        if self._calls and self._ended is not None:
            await asyncio.shield(self._ended)

    @property
    def needs_thread(self) -> bool:
        """Whether the outcomes must be waited for, or asked for once more, by a thread; of what went to the waves it is known
        once that has settled."""
        if not self._calls:
            return bool(self.wanted)
        return any(_is_stale(call) or _only_concurrency(door.outcome_of(call)) for call in self._calls)

    def leave(self) -> None:
        """The stream waits no more: give back what is held."""
        started, self._started = self._started, None
        for call in self._calls if started is None else started.calls:
            completion.give_up(call)

    # --- On a thread -------------------------------------------------------------------------------------------------

    def begin(self, caller: Caller, context: CallContext) -> None:
        """Admit in one round trip and submit. Raises ``StaleCaller``, and what ends the stream; else see the outcomes."""
        self.caller, self._context = caller, context
        try:
            self._started = prediction.begin_each(caller, self.wanted, context)
        except PlatformError as problem:
            if problem.kind in _ENDS_THE_STREAM:
                raise
            self._problem = problem

    # --- The answers -------------------------------------------------------------------------------------------------

    def outcomes(self, *, open_: Callable[[], bool]) -> list[ItemResult]:
        """An outcome for each item in order; waits where a thread began it. ``open_`` tells whether the stream still waits."""
        wanted = self.wanted
        answered = iter(self._answered(wanted, open_) if wanted else ())
        return [item if isinstance(item, PlatformError) else next(answered) for item in self.parsed]

    def _answered(self, wanted: Sequence[PredictRequest], open_: Callable[[], bool]) -> list[ItemResult]:
        if self._calls:
            return self._of_waves(wanted, open_)
        started, self._started = self._started, None
        if started is None:
            return [self._problem or unavailable("The prediction was lost; please try again.") for _ in wanted]
        try:
            self.answer = started.finish()
        except Exception as error:  # noqa: BLE001 - of these inputs; the next group may be answered
            return [problems.kind_of(error)] * len(wanted)
        return self._patiently(wanted, list(self.answer.results), open_)

    def _of_waves(self, wanted: Sequence[PredictRequest], open_: Callable[[], bool]) -> list[ItemResult]:
        outcomes = [_outcome(call) for call in self._calls]
        decision = next((call.decision for call in reversed(self._calls) if call.decision is not None), None)
        again = [index for index, call in enumerate(self._calls) if _is_stale(call)]
        if again:
            caller, context = self.caller, self._context
            assert caller is not None and context is not None  # noqa: S101, PT018 (begun)
            for index, outcome in zip(
                again, self._again(caller, [wanted[index] for index in again], context), strict=True
            ):
                outcomes[index] = outcome
        units = sum(outcome.units for outcome in outcomes if isinstance(outcome, PredictResult))
        self.answer = Answer(tuple(outcomes), units, decision)
        if any(map(_only_concurrency, outcomes)):
            return self._patiently(wanted, outcomes, open_)
        return outcomes

    def _patiently(
        self, wanted: Sequence[PredictRequest], outcomes: list[ItemResult], open_: Callable[[], bool]
    ) -> list[ItemResult]:
        """Try inputs again that only the limit of calls at the same time refused: how many are under way at the same time
        was this server's choice, not the client's. Everything before them is finished by now."""
        caller, context = self.caller, self._context
        assert caller is not None and context is not None  # noqa: S101, PT018 (begun)
        give_up_at = clock.monotonic() + context.timeout_s
        while again := [index for index, outcome in enumerate(outcomes) if _only_concurrency(outcome)]:
            if not open_() or clock.monotonic() > give_up_at:
                break
            time.sleep(_PAUSE_S)
            few = again[: share_of(contract_of(caller))]
            for index, outcome in zip(few, self._again(caller, [wanted[index] for index in few], context), strict=True):
                outcomes[index] = outcome
        return outcomes

    @staticmethod
    def _again(caller: Caller, few: Sequence[PredictRequest], context: CallContext) -> Sequence[ItemResult]:
        """What goes wrong now is the problem of these inputs alone: the others of the group are answered and paid."""
        try:
            return prediction.predict_each(caller, few, context).results
        except StaleCaller:
            return [unavailable("This key is being changed; please send the input again.")] * len(few)
        except Exception as error:  # noqa: BLE001 - as above
            return [problems.kind_of(error)] * len(few)


def share_of(contract: Contract) -> int:
    """How many inputs of one stream may be under way: half of what the limits let be at the same time, so that the
    tenant's other calls have room."""
    most = min((limit.amount for limit in contract.limits if limit.kind is LimitKind.CONCURRENCY), default=1 << 30)
    return max(1, most // 2)


def _is_stale(call: WaveCall) -> bool:
    return isinstance(door.outcome_of(call), StaleCaller | CounterLost)


def _outcome(call: WaveCall) -> ItemResult:
    outcome = door.outcome_of(call)
    try:
        if isinstance(outcome, bytes):
            return door.result(call, outcome)
        return problems.kind_of(outcome or unavailable("The prediction was lost; please try again."))
    except Exception as error:  # noqa: BLE001 - of this input; the others are answered
        return problems.kind_of(error)


def _only_concurrency(outcome: object) -> bool:
    return (
        isinstance(outcome, Refused)
        and outcome.kind is ErrorKind.QUOTA_EXCEEDED
        and all(state.limit.kind is LimitKind.CONCURRENCY for state in outcome.decision.states if state.refused)
    )
