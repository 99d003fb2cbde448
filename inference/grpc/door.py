"""The engine's door for gRPC calls of one input: from the connection to the engine and back on the event loop, without a thread.

As :mod:`mlplatform.http.door` does it for REST: what is out of the ordinary, or wrong before admission, is handed on to a thread,
which knows all of it and says what is wrong.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from google.protobuf.message import DecodeError

from billing import charging, peeks
from billing.admission.on_loop import CounterLost
from billing.charging import Refused
from billing.contracts import Contract
from billing.models import Operation
from inference.engine import plans, waves
from inference.engine.answers import Answer, result_of
from inference.engine.plans import CallerPlan
from inference.engine.preparing import ready_to_admit
from inference.engine.stages import completion
from inference.engine.wave_call import WaveCall
from inference.grpc import calls, messages
from inference.grpc.calls import CallInfo
from inference.grpc.exchange import Exchange
from inference.grpc.generated import ml_inference_pb2 as pb
from inference.types import CallContext, PredictRequest, PredictResult
from mlplatform.lib import clock, event_loop
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.guards import StaleCaller

MOST_BYTES: Final = 16 * 1024
"""Of a message that is read, or written, on the loop."""

_BYTES_PER_NUMBER: Final = 4
_LOST: Final = "The prediction was lost; please try again."


async def predict(data: bytes, exchange: Exchange) -> bytes | None:
    """The answer of ``Predict``; None where a thread must give it, and nothing was done. A problem aborts the exchange."""
    info = calls.info_of(exchange)
    plan = plan_of(info)
    if plan is None:
        return None
    try:
        request = pb.PredictRequest.FromString(data)
        parsed = messages.parse(request, call_id="")
    except (DecodeError, PlatformError):
        return None
    ended = event_loop.get().create_future()
    # It counts among the calls that wait, as one that holds a thread does: a tenant leaves places to others.
    context = info.context(Operation.PREDICT)
    joined = join(plan, [parsed], context, done=lambda _: tell(ended))
    if joined is None:
        return None
    (call,) = joined
    try:
        await ended
    except asyncio.CancelledError:
        completion.give_up(call)
        raise
    outcome = outcome_of(call)
    if isinstance(outcome, bytes):
        return _answer(call, outcome, request, info, exchange)
    if not isinstance(outcome, StaleCaller | CounterLost):
        await _refuse(call, outcome, info, exchange)
    # A thread reads the caller, or the counter, anew. Nothing was taken.
    plans.forget()
    return None


def plan_of(info: CallInfo) -> CallerPlan | None:
    """What the loop knows of the caller of this call, if it may go without a thread."""
    metadata = info.metadata
    return plans.plan_of(authorization=metadata.get("authorization", ""), api_key=metadata.get("x-api-key", "").strip())


def join(
    plan: CallerPlan,
    requests: Sequence[PredictRequest],
    context: CallContext,
    *,
    done: Callable[[WaveCall], None],
    decided: Callable[[WaveCall], None] | None = None,
) -> list[WaveCall] | None:
    """Have each leave with the next wave; None, and nothing is done, where a thread must look at one of them."""
    started = clock.monotonic()
    begun: list[WaveCall] = []
    for request in requests:
        model = plan.model(request.model, operation=context.operation)
        if model is None or model.ref.outputs * _BYTES_PER_NUMBER > MOST_BYTES:
            return None
        try:
            item = ready_to_admit(plan.encode(request, model), model.tariff)
        except PlatformError:
            return None
        begun.append(
            WaveCall(
                plan.contract,
                context,
                (item,),
                limits=model.limits,
                served=plan.served,
                started=started,
                deadline=started + context.timeout_s,
                done=done,
                decided=decided,
            )
        )
    waves.join(begun)
    return begun


def outcome_of(call: WaveCall) -> bytes | Exception | None:
    """What became of a call that has ended: its scores or its problem; None where it was lost."""
    return call.problem or call.items[0].outcome


def result(call: WaveCall, scores: bytes) -> PredictResult:
    """The result of an answered call. What goes wrong here costs nothing, and is raised."""
    try:
        return result_of(call.items[0], scores, call.started)
    except Exception:
        take_back(call)
        raise


def take_back(call: WaveCall) -> None:
    """It is paid by now, and its caller gets no answer."""
    held = partial(charging.take_back, call.contract.subject, call.items[0].hold_id)
    event_loop.tell(event_loop.in_thread, held)


def tell(waiting: "asyncio.Future[None]") -> None:
    """Let the task that waits go on, unless it was broken off meanwhile."""
    if not waiting.done():
        waiting.set_result(None)


def _answer(call: WaveCall, scores: bytes, request: pb.PredictRequest, info: CallInfo, exchange: Exchange) -> bytes:
    try:
        found = result_of(call.items[0], scores, call.started)
        info.note(Answer((found,), found.units, call.decision))
        message = messages.response(found, request, request_id=request.id or info.request_id)
        data: bytes = message.SerializeToString()
        exchange.send_initial_metadata(tuple(calls.end_headers(info).items()))
    except Exception as error:  # noqa: BLE001 - logged, and told as a mistake of ours
        take_back(call)
        calls.fail(exchange, error, info)
    return data


async def _refuse(call: WaveCall, outcome: Exception | None, info: CallInfo, exchange: Exchange) -> None:
    """Tell a problem with the limits, unless it came before admission and is for a caller that may be none any more."""
    problem = outcome or PlatformError(ErrorKind.INTERNAL, _LOST)
    if not isinstance(problem, PlatformError):
        calls.fail(exchange, problem, info)
    if not isinstance(problem, Refused) and problem.kind is not ErrorKind.UNAVAILABLE:
        limits = await _limits_of(call.contract)
        if isinstance(limits, StaleCaller):
            if not call.is_admitted:
                return
            limits = None
        info.decision = limits
    calls.fail(exchange, problem, info, calls.headers_of_problem(problem, info))


async def _limits_of(contract: Contract) -> peeks.Found:
    found: asyncio.Future[peeks.Found] = event_loop.get().create_future()
    peeks.peek(contract, lambda limits: None if found.done() else found.set_result(limits))
    return await found
