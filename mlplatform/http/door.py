"""The engine's door on the event loop: ordinary predictions go from the connection to the engine, and back, without a thread.

Ordinary is a small JSON body, for a versioned address, with a key that this process knows, for a model without a fee. Whatever is
out of the ordinary, or wrong before admission, is handed on to a thread, which knows all of it and says what is wrong.
"""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from time import perf_counter
from typing import Final

import orjson

from billing import charging, peeks
from billing.admission import Decision
from billing.admission.on_loop import CounterLost
from billing.charging import Refused
from billing.http import limit_headers
from billing.models import Operation
from inference.api_versions import parse, render
from inference.engine import plans, waves
from inference.engine.answers import Answer as Predicted
from inference.engine.answers import result_of
from inference.engine.plans import CallerPlan, ModelPlan
from inference.engine.preparing import Encoded, Prepared, ready_to_admit
from inference.engine.wave_call import WaveCall
from inference.inputs import truncation
from inference.types import CallContext, PredictResult
from mlplatform import api_answers
from mlplatform.http import call_headers, compression, repeated
from mlplatform.http.answers import Answer
from mlplatform.http.asked import Asked
from mlplatform.http.call_headers import CallHeaders
from mlplatform.lib import clock, event_loop, ids, strict_json
from mlplatform.lib.errors import ErrorKind, PlatformError
from mlplatform.lib.tracing import child_traceparent, enter_request
from tenants.guards import StaleCaller
from tenants.http import problems

logger = logging.getLogger(__name__)

MOST_BYTES: Final = 16 * 1024
"""Of a body that is parsed on the loop, and of an answer that is written there: about 0.3 ms."""

_PATHS: Final = {b"/v1/predict": "v1", b"/v1.1/predict": "v1.1", b"/v2/predict": "v2"}
_OPERATION: Final = Operation.PREDICT.value
_BYTES_PER_SCORE: Final = 24
"""Of a number in JSON, at most."""


class Exchange:
    """One request that the door has taken, until it is answered or handed on."""

    __slots__ = ("api_version", "hand_on", "headers", "plan", "reply", "request_id", "started", "unseen")

    def __init__(
        self,
        plan: CallerPlan,
        api_version: str,
        headers: CallHeaders,
        reply: Callable[[Answer], None],
        hand_on: Callable[[], None],
    ) -> None:
        self.plan = plan
        self.api_version = api_version
        self.headers = headers
        self.reply = reply
        self.hand_on = hand_on
        self.request_id = ids.request_id(headers.request_id)
        self.started = perf_counter()
        self.unseen: tuple[bytes, Encoded] | None = None
        """A body that was read for this call, and what it says."""


class Door:
    """Of one process; every method belongs to the loop's thread."""

    def __init__(self) -> None:
        static = [("allow", "POST, OPTIONS"), *api_answers.security_headers()]
        self._static = b"".join([f"{name.lower()}: {value}\r\n".encode("latin-1") for name, value in static])
        self._limits: tuple[Decision | None, bytes] = (None, b"")
        self._headers = call_headers.Reader()
        self._bodies = repeated.Bodies()

    @staticmethod
    def is_for(asked: Asked) -> bool:
        """Whether a request may be for the door, as far as its address tells."""
        return asked.url in _PATHS and asked.method == b"POST"

    def take(self, asked: Asked, *, reply: Callable[[Answer], None], hand_on: Callable[[], None]) -> bool:
        """Whether the door answers a whole request, sooner or later by ``reply``; or, when it turns out that a thread must, by
        ``hand_on``. Nothing is done where it does not."""
        api_version, body = _PATHS.get(asked.url), bytes(asked.body)
        if api_version is None or asked.method != b"POST" or len(body) > MOST_BYTES:
            return False
        headers = self._headers.read(asked.headers)
        if headers is None or headers.api_version not in {"", api_version}:
            return False
        plan = plans.plan_of(authorization=headers.authorization, api_key=headers.api_key)
        if plan is None or not plan.has_no_end(api_version):
            return False
        exchange = Exchange(plan, api_version, headers, reply, hand_on)
        try:
            said = self._said(exchange, body)
            if said is None:
                return False
            call = self._call(exchange, *said)
        except PlatformError:
            return False  # What is wrong with the body is said by a thread.
        waves.join((call,))
        return True

    def _said(self, exchange: Exchange, body: bytes) -> tuple[Encoded, ModelPlan] | None:
        """What the body asks for; None where a thread must see to it. Raises what is wrong with it."""
        plan, api_version = exchange.plan, exchange.api_version
        encoded = self._bodies.encoded(plan.caller.tenant_id, api_version, body)
        if encoded is not None:
            request = encoded.request
        else:
            sent = strict_json.loads(body)
            if type(sent) is not dict:
                return None
            request = parse(api_version, sent)
        model = plan.model(request.model, operation=_OPERATION)
        if model is None:
            return None
        if encoded is None or encoded.ref is not model.ref:
            encoded = plan.encode(request, model)
            exchange.unseen = (body, encoded)
        return encoded, model

    def _call(self, exchange: Exchange, encoded: Encoded, model: ModelPlan) -> WaveCall:
        plan, headers = exchange.plan, exchange.headers
        context = CallContext(
            request_id=exchange.request_id,
            operation=_OPERATION,
            api_version=exchange.api_version,
            client=headers.client,
            timeout_s=headers.timeout_s,
            cache=headers.cache,
            holds_thread=False,
        )
        started = clock.monotonic()
        return WaveCall(
            plan.contract,
            context,
            (ready_to_admit(encoded, model.tariff),),
            limits=model.limits,
            served=plan.served,
            started=started,
            deadline=started + headers.timeout_s,
            done=partial(self._done, exchange),
        )

    # --- The answer --------------------------------------------------------------------------------------------------

    def _done(self, exchange: Exchange, call: WaveCall) -> None:
        (item,) = call.items
        outcome = call.problem or item.outcome
        if isinstance(outcome, bytes):
            if exchange.unseen is not None and call.is_cached:
                self._bodies.keep(exchange.plan.caller.tenant_id, exchange.api_version, *exchange.unseen)
            if item.ref.outputs * _BYTES_PER_SCORE > MOST_BYTES:
                event_loop.in_thread(partial(self._written, exchange, call, item, outcome), exchange_reply(exchange))
            else:
                exchange.reply(self._written(exchange, call, item, outcome))
        elif isinstance(outcome, StaleCaller | CounterLost):
            self._begin_anew(exchange)
        elif isinstance(outcome, PlatformError) and (
            isinstance(outcome, Refused) or outcome.kind is ErrorKind.UNAVAILABLE
        ):
            decision = outcome.decision if isinstance(outcome, Refused) else None
            exchange.reply(self._problem(exchange, outcome, decision))
        else:
            problem = outcome or PlatformError(ErrorKind.INTERNAL, "The prediction was lost.")
            peeks.peek(call.contract, partial(self._refuse, exchange, call, problem))

    @staticmethod
    def _begin_anew(exchange: Exchange) -> None:
        """A thread reads the caller, or the counter, anew. Nothing was taken."""
        plans.forget()
        exchange.hand_on()

    def _refuse(self, exchange: Exchange, call: WaveCall, problem: Exception, limits: peeks.Found) -> None:
        """Tell a problem with the limits, unless it came before admission and is for a caller that may be none any more."""
        if not isinstance(limits, StaleCaller):
            exchange.reply(self._problem(exchange, problem, limits))
        elif call.is_admitted:
            exchange.reply(self._problem(exchange, problem, None))
        else:
            self._begin_anew(exchange)

    def _written(self, exchange: Exchange, call: WaveCall, item: Prepared, scores: bytes) -> Answer:
        try:
            result = result_of(item, scores, call.started)
            answer = Predicted((result,), result.units, call.decision)
            body = orjson.dumps(render(exchange.api_version, answer), option=orjson.OPT_SERIALIZE_NUMPY)
            return self._answer(exchange, 200, "application/json", body, self._of_result(exchange, result, call))
        except Exception as error:
            enter_request(exchange.request_id)
            logger.exception("an answer could not be written")
            # It is paid by now, and its caller gets no answer.
            held = partial(charging.take_back, call.contract.subject, item.hold_id)
            event_loop.tell(event_loop.in_thread, held)
            return self._problem(exchange, error, None)

    def _of_result(self, exchange: Exchange, result: PredictResult, call: WaveCall) -> bytes:
        """The headers that tell of the answer, as they are sent."""
        lines = b"x-cache: HIT\r\nage: %d\r\n" % result.age_s if result.cached else b"x-cache: MISS\r\n"
        if result.truncated is not None and exchange.api_version != "v2":
            lines += _lines(truncation.told([result.truncated]))
        # Calls of one wave have one decision.
        decision, told = self._limits
        if call.decision is not decision:
            told = _lines(limit_headers.of(call.decision)) if call.decision is not None else b""
            self._limits = (call.decision, told)
        return lines + told

    def _problem(self, exchange: Exchange, error: Exception, decision: Decision | None) -> Answer:
        enter_request(exchange.request_id)
        problem = problems.kind_of(error)
        body = orjson.dumps(problems.body(problem, request_id=exchange.request_id))
        told = _lines(problems.headers(problem))
        if decision is not None:
            told += _lines(limit_headers.of(decision))
        return self._answer(exchange, problems.TABLE[problem.kind].status, problems.CONTENT_TYPE, body, told)

    def _answer(self, exchange: Exchange, status: int, content_type: str, body: bytes, told: bytes) -> Answer:
        environ = exchange.headers.environ
        if compression.applies(environ, len(body)):
            told += b"vary: Accept-Encoding\r\n"
            packed = compression.packed(environ, body)
            if packed is not None:
                body = packed
                told += b"content-encoding: gzip\r\n"
        head = (
            b"content-type: %b\r\ncontent-length: %d\r\nx-request-id: %b\r\ntraceparent: %b\r\napi-version: %b\r\n%b%b"
            % (
                content_type.encode(),
                len(body),
                exchange.request_id.encode(),
                child_traceparent(exchange.headers.traceparent).encode(),
                exchange.api_version.encode(),
                self._static,
                told,
            )
        )
        api_answers.observe(_OPERATION, status, perf_counter() - exchange.started)
        return Answer(status, [], body, head=head)


def exchange_reply(exchange: Exchange) -> Callable[[Answer | Exception], None]:
    """Send what a thread has written."""

    def reply(answer: Answer | Exception) -> None:
        if isinstance(answer, Exception):
            logger.error("an answer could not be written", exc_info=answer)
            exchange.hand_on()
        else:
            exchange.reply(answer)

    return reply


def _lines(headers: Mapping[str, str]) -> bytes:
    return "".join([f"{name.lower()}: {value}\r\n" for name, value in headers.items()]).encode("latin-1")
