"""From a connection to the method that answers: what gRPC calls of all our services go through on the event loop.

A call of one input may be answered there; every other unary call is run by a thread of a bounded pool. Messages are bytes here,
so that large ones are parsed and written by a thread, too. As many calls as the pool has threads, times a few, may be under way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from time import perf_counter
from typing import Any, Final, NoReturn

import grpc
from google.protobuf.message import DecodeError

from inference.grpc import metrics, statuses
from inference.grpc.calls import answer_unary
from inference.grpc.door import MOST_BYTES
from inference.grpc.exchange import Aborted, Exchange
from inference.grpc.messages import Malformed
from mlplatform.lib import sql_connections
from mlplatform.lib.errors import ErrorKind
from mlplatform.observability import traffic

OnLoop = Callable[[bytes, Exchange], Awaitable[bytes | None]]
"""Answers on the loop; None hands the call on to a thread."""

logger = logging.getLogger(__name__)

_MALFORMED: Final = Malformed()
_OURS: Final = frozenset({"INTERNAL", "UNAVAILABLE", "UNKNOWN", "DEADLINE_EXCEEDED"})
_OF_SEVERAL_KINDS: Final = frozenset({"UNAVAILABLE", "RESOURCE_EXHAUSTED"})
_OVER_LIMIT: Final = frozenset({ErrorKind.QUOTA_EXCEEDED.name, ErrorKind.TOO_MANY_ATTEMPTS.name})


class Methods:
    """Those of one server. ``pool`` runs what may block; more than ``most`` calls at the same time are refused at once."""

    def __init__(self, pool: Executor, *, most: int) -> None:
        self._pool = pool
        self._most = most
        self._open = 0

    def handler(
        self, method: str, handler: grpc.RpcMethodHandler[Any, Any], on_loop: OnLoop | None = None
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """The handler of generated code as one for grpcio's asyncio server, counted and measured."""
        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(self._stream(method, handler))
        return grpc.unary_unary_rpc_method_handler(self._unary(method, handler, on_loop))

    def _unary(self, method: str, handler: grpc.RpcMethodHandler[Any, Any], on_loop: OnLoop | None) -> Any:
        async def answer(data: bytes, context: Any) -> bytes | None:
            exchange, answered, started = await self._begun(context), None, perf_counter()
            try:
                if on_loop is not None and len(data) <= MOST_BYTES:
                    answered = await on_loop(data, exchange)
                if answered is None:
                    work = _in_thread(handler, data, exchange)
                    answered = await _loop().run_in_executor(self._pool, _run, work, exchange)
            except Aborted:
                answered = None
            except asyncio.CancelledError:
                exchange.cancel()
                raise
            except Exception:
                logger.exception("a call of %s failed", method)
                answered = None
                exchange.break_off()
            finally:
                _ended(method, exchange, perf_counter() - started)
            await exchange.end()
            return answered

        return answer

    def _stream(self, method: str, handler: grpc.RpcMethodHandler[Any, Any]) -> Any:
        stream: Any = handler.stream_stream

        async def answer_stream(_: Any, context: Any) -> None:
            exchange, started = await self._begun(context), perf_counter()
            try:
                await stream(exchange.read, exchange)
            except Aborted:
                pass
            except asyncio.CancelledError:
                exchange.cancel()
                raise
            except Exception:
                logger.exception("a call of %s failed", method)
                exchange.break_off()
            finally:
                _ended(method, exchange, perf_counter() - started)
            await exchange.end()

        return answer_stream

    async def _begun(self, context: Any) -> Exchange:
        if self._open >= self._most:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!")
        # Until its answer is with the client: what is written for clients that do not read takes memory.
        context.add_done_callback(self._is_over)
        self._open += 1
        return Exchange(context)

    def _is_over(self, _: Any) -> None:
        self._open -= 1


def _ended(method: str, exchange: Exchange, seconds: float) -> None:
    code = exchange.code()
    if exchange.is_active():
        name = "OK" if code is None else code.name
    else:
        # Whatever was made of it, the caller saw its own end of the call.
        name = "DEADLINE_EXCEEDED" if exchange.has_run_out else "CANCELLED"
    failed = name in _OURS
    reason = statuses.reason_of(exchange) if name in _OF_SEVERAL_KINDS else ""
    brownout = reason == ErrorKind.BROWNOUT.name
    metrics.answered(method, name, seconds)
    if brownout:
        metrics.refused_by_brownout(method)
    # The start page of the admin counts answers of all faces, in the words of HTTP.
    over_limit = reason in _OVER_LIMIT
    traffic.count(503 if failed else 200 if name == "OK" else 429 if over_limit else 400, brownout=brownout)


def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def _in_thread(handler: grpc.RpcMethodHandler[Any, Any], data: bytes, exchange: Exchange) -> Callable[[], bytes]:
    """Bytes that are no message are answered with INVALID_ARGUMENT; grpcio's own answer would say that the mistake is ours."""
    parse: Any = handler.request_deserializer
    unary: Any = handler.unary_unary
    serialize: Any = handler.response_serializer

    def work() -> bytes:
        try:
            request = parse(data)
        except DecodeError:
            answer_unary(exchange, _refuse_malformed)
        message: bytes = serialize(unary(request, exchange))
        return message

    return work


def _run(work: Callable[[], bytes], exchange: Exchange) -> bytes:
    try:
        return work()
    finally:
        code = exchange.code()
        sql_connections.let_go(after_failure=not exchange.is_active() or (code is not None and code.name in _OURS))


def _refuse_malformed(caller: object, info: object) -> NoReturn:
    raise _MALFORMED.problem()
