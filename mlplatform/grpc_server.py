"""The gRPC server: every service with health, reflection, limits, TLS, metrics and a drain."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import grpc
from django.conf import settings
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from inference.grpc import metrics, statuses, streaming
from mlplatform import grpc_services
from mlplatform.lib import sql_connections
from mlplatform.lib.errors import ErrorKind
from mlplatform.observability import traffic
from mlplatform.observability.health import readiness

logger = logging.getLogger(__name__)

_QUEUED_PER_THREAD: Final = 4
"""Calls that may be under way for each thread; more are refused at once with RESOURCE_EXHAUSTED."""

_THREADS_PER_REFLECTION: Final = 16
"""Reflection needs no key, and each call of it keeps a thread for as long as its client likes: few may be open."""

_LONGEST_IDLE_MS: Final = 10 * 60 * 1000
_LONGEST_CONNECTION_MS: Final = 60 * 60 * 1000
_LONGEST_STREAM_MS: Final = 24 * 60 * 60 * 1000
_LEAST_PING_MS: Final = 10_000
_METADATA_BYTES: Final = 16 * 1024


class GrpcServer:
    """A server that can start, say that it is ready, and drain. ``port`` 0 takes any free port; ``address`` has it then."""

    def __init__(
        self, *, host: str | None = None, port: int | None = None, prepare_thread: Callable[[], None] | None = None
    ) -> None:
        pool = futures.ThreadPoolExecutor(settings.GRPC_THREADS, thread_name_prefix="grpc", initializer=prepare_thread)
        self._pool = pool
        self._server = grpc.server(
            pool,
            options=_options(),
            maximum_concurrent_rpcs=settings.GRPC_THREADS * _QUEUED_PER_THREAD,
        )
        self._health = health.HealthServicer(experimental_non_blocking=True)
        self._names = self._add_services(prepare_thread)
        self._told: bool | None = None
        self.host = settings.GRPC_HOST if host is None else host
        self.port = self._bind(settings.GRPC_PORT if port is None else port)

    @property
    def target(self) -> str:
        """Where this machine reaches it."""
        wildcard = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 (compared with, not bound)
        return f"{wildcard.get(self.host, _bracketed(self.host))}:{self.port}"

    def start(self) -> None:
        """Serve, and say so when asked for the health of the whole; that of a service is its readiness."""
        self._server.start()
        self._health.set("", health_pb2.HealthCheckResponse.SERVING)
        self.tell_readiness()

    def tell_readiness(self) -> None:
        """Look whether predictions can be answered, as ``/readyz`` does, and say so for each service. Its thread asks SQL."""
        ready = readiness().ready
        if ready is not self._told:  # each is sent to every watcher
            status = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
            for name in self._names:
                self._health.set(name, status)
            self._told = ready
        sql_connections.let_go(after_failure=not ready)

    def drain(self, grace_s: float) -> threading.Event:
        """Say that no more should come, refuse it, finish what runs within ``grace_s``; the event tells the end."""
        self._health.enter_graceful_shutdown()
        stopped = self._server.stop(grace_s)
        # After it, so that each opened stream is drained.
        streaming.drain()
        return stopped

    def wait(self) -> None:
        """Until it has stopped."""
        self._server.wait_for_termination()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _add_services(self, prepare_thread: Callable[[], None] | None) -> list[str]:
        names = []
        for service in grpc_services.all_services(prepare_thread):
            handlers = {
                method: _observed(f"/{service.name}/{method}", handler)
                for method, handler in grpc_services.handlers_of(service).items()
            }
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.name, handlers),))
            names.append(service.name)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        told = (*names, health.SERVICE_NAME, reflection.SERVICE_NAME)
        add_reflection: Any = reflection_pb2_grpc.add_ServerReflectionServicer_to_server
        add_reflection(_Reflection(told), self._server)
        return names

    def _bind(self, port: int) -> int:
        address = f"{_bracketed(self.host)}:{port}"
        if settings.GRPC_TLS_CERT:
            return self._server.add_secure_port(address, _credentials())
        return self._server.add_insecure_port(address)


class _Reflection:
    """Reflection for a few clients at the same time; more are refused at once."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._reflection: Any = reflection.ReflectionServicer(names)
        self._open = threading.BoundedSemaphore(max(1, settings.GRPC_THREADS // _THREADS_PER_REFLECTION))

    def ServerReflectionInfo(self, requests: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802
        """The one method of the service, as grpcio's own servicer answers it."""
        if not self._open.acquire(blocking=False):
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "As many clients as may read the reflection; try again.")
        try:
            yield from self._reflection.ServerReflectionInfo(requests, context)
        finally:
            self._open.release()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _credentials() -> grpc.ServerCredentials:
    """TLS, and mutual TLS where an authority of clients is given."""
    authority = Path(settings.GRPC_TLS_CLIENT_CA).read_bytes() if settings.GRPC_TLS_CLIENT_CA else None
    return grpc.ssl_server_credentials(
        [(Path(settings.GRPC_TLS_KEY).read_bytes(), Path(settings.GRPC_TLS_CERT).read_bytes())],
        root_certificates=authority,
        require_client_auth=authority is not None,
    )


def _options() -> list[tuple[str, Any]]:
    return [
        ("grpc.max_receive_message_length", settings.GRPC_MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", _METADATA_BYTES),
        # Two servers on one port would share its connections by chance.
        ("grpc.so_reuseport", 0),
        # Clients behind proxies ping to keep connections open; those that ping more often are sent away.
        ("grpc.http2.min_ping_interval_without_data_ms", _LEAST_PING_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_ping_strikes", 3),
        # A client that vanished without a word is noticed, and connections move on so that new servers get their share.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.max_connection_idle_ms", _LONGEST_IDLE_MS),
        ("grpc.max_connection_age_ms", _LONGEST_CONNECTION_MS),
        # A stream that is open then goes on: what it has been charged for must reach its client.
        ("grpc.max_connection_age_grace_ms", _LONGEST_STREAM_MS),
    ]


def _observed(method: str, handler: grpc.RpcMethodHandler[Any, Any]) -> grpc.RpcMethodHandler[Any, Any]:
    """The handler with a count, a metric, and care for its thread's SQL connections."""
    if handler.request_streaming:
        stream: Any = handler.stream_stream

        def answer_stream(requests: Any, context: grpc.ServicerContext) -> Any:
            started = perf_counter()
            try:
                yield from stream(requests, context)
            finally:
                _ended(method, context, perf_counter() - started)

        return grpc.stream_stream_rpc_method_handler(
            answer_stream, handler.request_deserializer, handler.response_serializer
        )
    unary: Any = handler.unary_unary

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        started = perf_counter()
        try:
            return unary(request, context)
        finally:
            _ended(method, context, perf_counter() - started)

    return grpc.unary_unary_rpc_method_handler(answer, handler.request_deserializer, handler.response_serializer)


_OURS: Final = frozenset({"INTERNAL", "UNAVAILABLE", "UNKNOWN", "DEADLINE_EXCEEDED"})

_OF_SEVERAL_KINDS: Final = frozenset({"UNAVAILABLE", "RESOURCE_EXHAUSTED"})
_OVER_LIMIT: Final = frozenset({ErrorKind.QUOTA_EXCEEDED.name, ErrorKind.TOO_MANY_ATTEMPTS.name})


def _ended(method: str, context: Any, seconds: float) -> None:
    code = context.code()
    if context.is_active():
        name = "OK" if code is None else code.name
    else:
        # Whatever the handler made of it, the caller saw its own end of the call.
        name = "CANCELLED" if context.time_remaining() else "DEADLINE_EXCEEDED"
    failed = name in _OURS
    reason = statuses.reason_of(context) if name in _OF_SEVERAL_KINDS else ""
    brownout = reason == ErrorKind.BROWNOUT.name
    metrics.answered(method, name, seconds)
    if brownout:
        metrics.refused_by_brownout(method)
    # The start page of the admin counts answers of all faces, in the words of HTTP.
    over_limit = reason in _OVER_LIMIT
    traffic.count(503 if failed else 200 if name == "OK" else 429 if over_limit else 400, brownout=brownout)
    sql_connections.let_go(after_failure=failed)
