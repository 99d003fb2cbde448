"""``grpc.health.v1.Health`` on the event loop: what is served, for clients that ask and for those that watch.

grpcio's own servicer for asyncio forgets a service's other watchers when one of them goes, and a watcher that does not read keeps
the others from hearing.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

_Response: Final = health_pb2.HealthCheckResponse

MOST_WATCHERS: Final = 1_000
"""Watching needs no key, and lasts as long as its client likes."""


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """Of one server; every method belongs to the loop's thread."""

    def __init__(self) -> None:
        self._told: dict[str, int] = {"": _Response.SERVING}
        self._watchers: set[asyncio.Event] = set()
        self._is_ending = False

    def set(self, services: Iterable[str], status: int) -> None:
        """Say this of services from now on; nothing after :meth:`end`."""
        if not self._is_ending:
            self._told.update(dict.fromkeys(services, status))
            self._tell()

    def end(self) -> None:
        """Say for good that nothing is served."""
        self._is_ending = True
        self._told = dict.fromkeys(self._told, _Response.NOT_SERVING)
        self._tell()

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802
        """The status of one service; NOT_FOUND for one that is not here."""
        status = self._told.get(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND)
        return _Response(status=status)

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802
        """The status now, and each that differs from the last one told. The end of the server ends it, once that is told."""
        if len(self._watchers) >= MOST_WATCHERS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "As many clients watch as may; please try again.")
        changed = asyncio.Event()
        self._watchers.add(changed)
        last = None
        try:
            while True:
                changed.clear()
                is_ending = self._is_ending  # as it is when the status is read
                status = self._told.get(request.service, _Response.SERVICE_UNKNOWN)
                if status != last:
                    last = status
                    await context.write(_Response(status=status))
                if is_ending:
                    return
                await changed.wait()
        finally:
            self._watchers.discard(changed)

    def _tell(self) -> None:
        for changed in self._watchers:
            changed.set()
