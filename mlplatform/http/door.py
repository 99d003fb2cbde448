"""The engine's door on the event loop: ordinary predictions go from the connection to the engine, and back, without a thread.

Ordinary is a small JSON body, for a versioned address, with a key that this process knows, for a model without a fee. Whatever is
out of the ordinary, or wrong before admission, is handed on to a thread, which knows all of it and says what is wrong.
"""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from time import perf_counter
from typing import Any, Final

import orjson
from django.conf import settings

from billing import charging
from billing.admission import Decision
from billing.admission.on_loop import CounterLost
from billing.charging import Refused
from billing.contracts import Contract
from billing.http import keyed, limit_headers
from billing.models import Operation
from inference.api_versions import parse, render
from inference.calls.cache_control import policy as cache_policy
from inference.calls.context import timeout_s
from inference.engine import plans, waves
from inference.engine.answers import Answer as Predicted
from inference.engine.answers import result_of
from inference.engine.plans import CallerPlan, ModelPlan
from inference.engine.wave_call import WaveCall
from inference.inputs import truncation
from inference.types import CachePolicy, CallContext, PredictRequest, PredictResult
from mlplatform import api_answers
from mlplatform.http import compression
from mlplatform.http.answers import Answer
from mlplatform.lib import clock, event_loop, ids, strict_json
from mlplatform.lib.errors import ErrorKind, PlatformError
from mlplatform.lib.tracing import child_traceparent, enter_request
from tenants.guards import StaleCaller
from tenants.http import problems

logger = logging.getLogger(__name__)

MOST_BYTES: Final = 16 * 1024
"""Of a body that is parsed on the loop, and of an answer that is written there: about 0.3 ms."""

_PATHS: Final = {"/v1/predict": "v1", "/v1.1/predict": "v1.1", "/v2/predict": "v2"}
_OPERATION: Final = Operation.PREDICT.value
_ON_THREADS: Final = frozenset({b"origin", b"content-encoding", b"expect", b"transfer-encoding"})
"""Headers of calls that a thread answers: CORS, and bodies that need more than parsing."""
_JSON: Final = frozenset({b"application/json", b"application/json; charset=utf-8", b"application/json;charset=utf-8"})
_BYTES_PER_SCORE: Final = 24
"""Of a number in JSON, at most."""
_POLICY: Final = CachePolicy()
_NONE: Final = b""

Headers = Mapping[bytes, bytes]


class Exchange:
    """One request that the door has taken, until it is answered or handed on."""

    __slots__ = ("api_version", "hand_on", "headers", "plan", "reply", "request_id", "started")

    def __init__(
        self,
        plan: CallerPlan,
        api_version: str,
        headers: Headers,
        reply: Callable[[Answer], None],
        hand_on: Callable[[], None],
    ) -> None:
        self.plan = plan
        self.api_version = api_version
        self.headers = headers
        self.reply = reply
        self.hand_on = hand_on
        self.request_id = ids.request_id(_text(headers, b"x-request-id") or None)
        self.started = perf_counter()


class Door:
    """Of one process; every method belongs to the loop's thread."""

    def __init__(self) -> None:
        self._https_only = settings.SECURE_SSL_REDIRECT
        static = [("allow", "POST, OPTIONS"), *api_answers.security_headers()]
        self._static = b"".join([f"{name.lower()}: {value}\r\n".encode("latin-1") for name, value in static])
        self._limits: tuple[Decision | None, bytes] = (None, b"")

    @staticmethod
    def is_for(scope: Mapping[str, Any]) -> bool:
        """Whether a request may be for the door, as far as its address tells."""
        return scope["path"] in _PATHS and scope["method"] == "POST"

    def take(
        self,
        scope: Mapping[str, Any],
        body: bytes,
        *,
        reply: Callable[[Answer], None],
        hand_on: Callable[[], None],
    ) -> bool:
        """Whether the door answers the request, sooner or later by ``reply``; or, when it turns out that a thread must, by
        ``hand_on``. Nothing is done where it does not."""
        api_version = _PATHS.get(scope["path"])
        if api_version is None or scope["method"] != "POST" or scope["query_string"] or len(body) > MOST_BYTES:
            return False
        headers = self._ordinary(scope["headers"], api_version)
        if headers is None:
            return False
        plan = plans.plan_of(authorization=_text(headers, b"authorization"), api_key=_text(headers, b"x-api-key"))
        if plan is None or not plan.has_no_end(api_version):
            return False
        exchange = Exchange(plan, api_version, headers, reply, hand_on)
        try:
            sent = strict_json.loads(body)
            if type(sent) is not dict:
                return False
            request = parse(api_version, sent)
            model = plan.model(request.model, operation=_OPERATION)
            if model is None:
                return False
            call = self._call(exchange, request, model)
        except PlatformError:
            return False  # What is wrong with the body is said by a thread.
        waves.join((call,))
        return True

    def _ordinary(self, sent: list[tuple[bytes, bytes]], api_version: str) -> Headers | None:
        headers: dict[bytes, bytes] = {}
        for name, value in sent:
            if name in _ON_THREADS or name in headers:
                return None
            headers[name] = value
        if headers.get(b"content-type", _NONE).lower() not in _JSON:
            return None
        if headers.get(b"api-version", _NONE) not in {_NONE, api_version.encode()}:
            return None
        if self._https_only and not _is_https(headers):
            return None
        return headers

    def _call(self, exchange: Exchange, request: PredictRequest, model: ModelPlan) -> WaveCall:
        plan, headers = exchange.plan, exchange.headers
        control = headers.get(b"cache-control")
        context = CallContext(
            request_id=exchange.request_id,
            operation=_OPERATION,
            api_version=exchange.api_version,
            client=_text(headers, b"user-agent").strip(),
            timeout_s=timeout_s(_text(headers, b"x-request-timeout"), _text(headers, b"prefer")),
            cache=cache_policy(control.decode("latin-1")) if control else _POLICY,
            holds_thread=False,
        )
        started = clock.monotonic()
        return WaveCall(
            plan.contract,
            context,
            plan.prepare(request, model),
            limits=model.limits,
            served=plan.served,
            started=started,
            deadline=started + context.timeout_s,
            done=partial(self._done, exchange),
        )

    # --- The answer --------------------------------------------------------------------------------------------------

    def _done(self, exchange: Exchange, call: WaveCall) -> None:
        outcome = call.outcome
        if isinstance(outcome, bytes):
            if call.item.ref.outputs * _BYTES_PER_SCORE > MOST_BYTES:
                event_loop.in_thread(partial(self._written, exchange, call, outcome), exchange_reply(exchange))
            else:
                exchange.reply(self._written(exchange, call, outcome))
        elif isinstance(outcome, StaleCaller | CounterLost):
            # A thread reads the caller, or the counter, anew. Nothing was taken.
            plans.forget()
            exchange.hand_on()
        elif isinstance(outcome, PlatformError) and (
            isinstance(outcome, Refused) or outcome.kind is ErrorKind.UNAVAILABLE
        ):
            decision = outcome.decision if isinstance(outcome, Refused) else None
            exchange.reply(self._problem(exchange, outcome, decision))
        else:
            problem = outcome or PlatformError(ErrorKind.INTERNAL, "The prediction was lost.")
            contract = exchange.plan.contract
            event_loop.in_thread(
                partial(self._problem_with_limits, exchange, problem, contract), exchange_reply(exchange)
            )

    def _written(self, exchange: Exchange, call: WaveCall, scores: bytes) -> Answer:
        try:
            result = result_of(call.item, scores, call.started)
            answer = Predicted((result,), result.units, call.decision)
            body = orjson.dumps(render(exchange.api_version, answer), option=orjson.OPT_SERIALIZE_NUMPY)
            return self._answer(exchange, 200, "application/json", body, self._of_result(exchange, result, call))
        except Exception as error:
            enter_request(exchange.request_id)
            logger.exception("an answer could not be written")
            # It is paid by now, and its caller gets no answer.
            held = partial(charging.take_back, call.contract.subject, call.item.hold_id)
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

    def _problem_with_limits(self, exchange: Exchange, error: Exception, contract: Contract) -> Answer:
        """Of a thread: a problem that tells the limits, which takes a round trip."""
        try:
            decision: Decision | None = keyed.peek(contract)
        except (PlatformError, StaleCaller):
            decision = None
        return self._problem(exchange, error, decision)

    def _problem(self, exchange: Exchange, error: Exception, decision: Decision | None) -> Answer:
        enter_request(exchange.request_id)
        problem = problems.kind_of(error)
        body = orjson.dumps(problems.body(problem, request_id=exchange.request_id))
        told = _lines(problems.headers(problem))
        if decision is not None:
            told += _lines(limit_headers.of(decision))
        return self._answer(exchange, problems.TABLE[problem.kind].status, problems.CONTENT_TYPE, body, told)

    def _answer(self, exchange: Exchange, status: int, content_type: str, body: bytes, told: bytes) -> Answer:
        headers = exchange.headers
        meta = {"HTTP_ACCEPT_ENCODING": _text(headers, b"accept-encoding")}
        if b"cookie" in headers:
            meta["HTTP_COOKIE"] = _text(headers, b"cookie")
        if compression.applies(meta, len(body)):
            told += b"vary: Accept-Encoding\r\n"
            packed = compression.packed(meta, body)
            if packed is not None:
                body = packed
                told += b"content-encoding: gzip\r\n"
        head = (
            b"content-type: %b\r\ncontent-length: %d\r\nx-request-id: %b\r\ntraceparent: %b\r\napi-version: %b\r\n%b%b"
            % (
                content_type.encode(),
                len(body),
                exchange.request_id.encode(),
                child_traceparent(_text(headers, b"traceparent") or None).encode(),
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


def _text(headers: Headers, name: bytes) -> str:
    value = headers.get(name)
    return value.decode("latin-1") if value else ""


def _lines(headers: Mapping[str, str]) -> bytes:
    return "".join([f"{name.lower()}: {value}\r\n" for name, value in headers.items()]).encode("latin-1")


def _is_https(headers: Headers) -> bool:
    header = settings.SECURE_PROXY_SSL_HEADER
    if not header:
        return False
    name = header[0].removeprefix("HTTP_").lower().replace("_", "-").encode()
    return _text(headers, name).split(",")[0].strip() == header[1]
