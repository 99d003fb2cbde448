"""Inputs of a stream that are admitted together: read, begun, finished, each with its answer or its problem."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from billing.admission import LimitKind
from billing.charging import Refused
from billing.contracts import Contract, contract_of
from inference.engine import predict as prediction
from inference.engine.predict import Answer, Singles
from inference.grpc import messages
from inference.grpc.generated import ml_inference_pb2 as pb
from inference.grpc.messages import Malformed
from inference.types import CallContext, PredictRequest, PredictResult
from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind, PlatformError, unavailable
from tenants.authentication import Caller
from tenants.guards import StaleCaller
from tenants.http import problems

logger = logging.getLogger(__name__)

Item = pb.PredictRequest | Malformed
ItemResult = PredictResult | PlatformError

_ENDS_THE_STREAM: Final = frozenset({ErrorKind.UNAUTHENTICATED, ErrorKind.FORBIDDEN, ErrorKind.TOO_MANY_ATTEMPTS})
"""What concerns the key, not an input: every further input would meet it too."""

_PAUSE_S: Final = 0.02


@dataclass(slots=True, eq=False)
class Group:
    """What came, what it means or its problem, the request id of each, and the prediction that was begun."""

    items: Sequence[Item]
    parsed: list[PredictRequest | PlatformError] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    caller: Caller | None = None
    _context: CallContext | None = None
    _started: Singles | None = None
    _problem: PlatformError | None = None
    answer: Answer | None = None
    """What was answered to :attr:`wanted`, after :meth:`outcomes`."""

    @property
    def wanted(self) -> list[PredictRequest]:
        """The requests that could be read."""
        return [item for item in self.parsed if isinstance(item, PredictRequest)]

    def read(self, *, request_id: str, first: int) -> None:
        """Parse what came; inputs without an id of their own are ``<request id>.<number>``, counted from ``first``."""
        for number, item in enumerate(self.items, start=first):
            own = f"{request_id}.{number}"
            try:
                parsed: PredictRequest | PlatformError = messages.parse(item, call_id=own)
            except PlatformError as problem:
                parsed = problem
            self.parsed.append(parsed)
            self.ids.append(parsed.call_id if isinstance(parsed, PredictRequest) else own)

    def begin(self, caller: Caller, context: CallContext) -> None:
        """Admit in one round trip and submit. Raises ``StaleCaller``, and what ends the stream; else see the outcomes."""
        self.caller, self._context = caller, context
        try:
            self._started = prediction.begin_each(caller, self.wanted, context)
        except PlatformError as problem:
            if problem.kind in _ENDS_THE_STREAM:
                raise
            self._problem = problem

    def outcomes(self, *, open_: Callable[[], bool]) -> list[ItemResult]:
        """Wait; an outcome for each item in order. ``open_`` tells whether the stream still waits."""
        wanted = self.wanted
        answered = iter(self._answered(wanted, open_) if wanted else ())
        return [item if isinstance(item, PlatformError) else next(answered) for item in self.parsed]

    def give_up(self) -> None:
        """Give back what was held, when the stream waits no more. After a cancellation that takes no time."""
        started, self._started = self._started, None
        if started is not None:
            try:
                started.finish()
            except Exception:
                logger.exception("a group of a stream that was given up could not be finished")

    def _answered(self, wanted: Sequence[PredictRequest], open_: Callable[[], bool]) -> list[ItemResult]:
        started, self._started = self._started, None
        if started is None:
            return [self._problem or unavailable("The prediction was lost; please try again.") for _ in wanted]
        try:
            self.answer = started.finish()
        except Exception as error:  # noqa: BLE001 - of these inputs; the next group may be answered
            return [problems.kind_of(error)] * len(wanted)
        return self._patiently(wanted, list(self.answer.results), open_)

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


def _only_concurrency(outcome: ItemResult) -> bool:
    return (
        isinstance(outcome, Refused)
        and outcome.kind is ErrorKind.QUOTA_EXCEEDED
        and all(state.limit.kind is LimitKind.CONCURRENCY for state in outcome.decision.states if state.refused)
    )
