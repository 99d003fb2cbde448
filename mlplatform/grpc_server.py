"""The gRPC server: every service with health, reflection, limits, TLS, metrics and a drain.

It is grpcio's asyncio server on the event loop of the process, where the engine is.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent import futures
from functools import partial
from pathlib import Path
from typing import Any, Final

import grpc
from django.conf import settings
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from inference.grpc import streaming
from mlplatform import grpc_services
from mlplatform.grpc_health import Health
from mlplatform.grpc_methods import Methods
from mlplatform.lib import event_loop, sql_connections
from mlplatform.observability.health import readiness

logger = logging.getLogger(__name__)

_QUEUED_PER_THREAD: Final = 4
"""Calls that may be under way for each thread; more are refused at once with RESOURCE_EXHAUSTED."""

_THREADS_PER_REFLECTION: Final = 16
"""Reflection needs no key, and each call of it stays open for as long as its client likes: few may be open."""

_LONGEST_IDLE_MS: Final = 10 * 60 * 1000
_LONGEST_CONNECTION_MS: Final = 60 * 60 * 1000
_LONGEST_STREAM_MS: Final = 24 * 60 * 60 * 1000
_LEAST_PING_MS: Final = 10_000
_METADATA_BYTES: Final = 16 * 1024

_LOOK_S: Final = 0.2
"""Between two looks for streams to drain while the server stops."""


class GrpcServer:
    """A server that can start, say that it is ready, and drain. ``port`` 0 takes any free port; ``address`` has it then."""

    def __init__(
        self, *, host: str | None = None, port: int | None = None, prepare_thread: Callable[[], None] | None = None
    ) -> None:
        self.host = settings.GRPC_HOST if host is None else host
        self._pool = futures.ThreadPoolExecutor(
            settings.GRPC_THREADS, thread_name_prefix="grpc", initializer=prepare_thread
        )
        self._methods = Methods(self._pool, most=settings.GRPC_THREADS * _QUEUED_PER_THREAD)
        self._told: bool | None = None
        self._stopped = threading.Event()
        services = grpc_services.all_services(prepare_thread)
        self._names = [service.name for service in services]
        asked = settings.GRPC_PORT if port is None else port
        self._server, self._health, self.port = event_loop.call(lambda: self._made(services, asked))

    @property
    def target(self) -> str:
        """Where this machine reaches it."""
        wildcard = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 (compared with, not bound)
        return f"{wildcard.get(self.host, _bracketed(self.host))}:{self.port}"

    def start(self) -> None:
        """Serve, and say so when asked for the health of the whole; that of a service is its readiness."""
        _on_loop(self._server.start()).result()
        self.tell_readiness()

    def tell_readiness(self) -> None:
        """Look whether predictions can be answered, as ``/readyz`` does, and say so for each service. Its thread asks SQL."""
        ready = readiness().ready
        if ready is not self._told:  # each is sent to every watcher
            status = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
            event_loop.call(partial(self._health.set, self._names, status))
            self._told = ready
        sql_connections.let_go(after_failure=not ready)

    def drain(self, grace_s: float) -> threading.Event:
        """Say that no more should come, refuse it, finish what runs within ``grace_s``; the event tells the end."""
        event_loop.call(self._health.end)
        refuses = threading.Event()
        _on_loop(self._stop(grace_s, refuses)).add_done_callback(lambda _: self._stopped.set())
        refuses.wait()
        return self._stopped

    def wait(self) -> None:
        """Until it has stopped; it cannot be started again."""
        self._stopped.wait()
        self._pool.shutdown(wait=False, cancel_futures=True)
        event_loop.call(self._let_go)

    # --- On the loop -------------------------------------------------------------------------------------------------

    def _made(self, services: list[grpc_services.Service], port: int) -> tuple[grpc.aio.Server, Health, int]:
        server = grpc.aio.server(options=_options())

        def add(name: str, handlers: dict[str, Any]) -> None:
            # grpcio waits for calls of each method that is registered apart, and each of these waits costs every call.
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))

        for service in services:
            handlers = grpc_services.handlers_of(service)
            add(
                service.name,
                {
                    method: self._methods.handler(f"/{service.name}/{method}", handler, service.on_loop.get(method))
                    for method, handler in handlers.items()
                },
            )
        told = Health()
        names = (*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME)
        for name, servicer, add_to_server in (
            (health.SERVICE_NAME, told, health_pb2_grpc.add_HealthServicer_to_server),
            (reflection.SERVICE_NAME, _Reflection(names), reflection_pb2_grpc.add_ServerReflectionServicer_to_server),
        ):
            add(name, grpc_services.handlers_added(partial(add_to_server, servicer)))
        address = f"{_bracketed(self.host)}:{port}"
        if settings.GRPC_TLS_CERT:
            return server, told, server.add_secure_port(address, _credentials())
        return server, told, server.add_insecure_port(address)

    async def _stop(self, grace_s: float, refuses: threading.Event) -> None:
        stopping = asyncio.ensure_future(self._server.stop(grace_s))
        await asyncio.sleep(0)
        refuses.set()
        while not stopping.done():
            # Again and again: a stream that was on its way when the stop began opens after it.
            streaming.drain()
            await asyncio.wait([stopping], timeout=_LOOK_S)
        await stopping

    def _let_go(self) -> None:
        # With its last reference grpcio takes a socket off the loop, in whichever thread that is: in another it is a race.
        del self._server


class _Reflection:
    """Reflection for a few clients at the same time; more are refused at once."""

    def __init__(self, names: tuple[str, ...]) -> None:
        asynchronous: Any = vars(reflection)["aio"]
        self._reflection: Any = asynchronous.ReflectionServicer(names)
        self._places = max(1, settings.GRPC_THREADS // _THREADS_PER_REFLECTION)

    async def ServerReflectionInfo(self, requests: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """The one method of the service, as grpcio's own servicer answers it."""
        if not self._places:
            few = "As many clients as may read the reflection; try again."
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, few)
        self._places -= 1
        try:
            async for answer in self._reflection.ServerReflectionInfo(requests, context):
                yield answer
        finally:
            self._places += 1


def _on_loop(work: Coroutine[Any, Any, Any]) -> futures.Future[Any]:
    return asyncio.run_coroutine_threadsafe(work, event_loop.get())


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
