"""``manage.py serve_grpc``: the process that answers gRPC, until TERM."""

import logging
import signal
import threading
from types import FrameType
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from mlplatform.grpc_server import GrpcServer
from mlplatform.lib import background, collector, processes
from tenants import installation

logger = logging.getLogger(__name__)

_LOOK_S: Final = 1.0


class Command(BaseCommand):
    """Serve gRPC on GRPC_HOST and GRPC_PORT. TERM drains: nothing new, what runs is finished within GRPC_DRAIN_S."""

    help = "Serve gRPC: predictions, the Open Inference Protocol, health and reflection."

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()

        def on_signal(number: int, frame: FrameType | None) -> None:
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, on_signal)
        try:
            installation.at_start()
        except installation.ForeignRedisError as error:
            raise CommandError(str(error)) from error
        try:
            server = GrpcServer()
        except (RuntimeError, OSError) as error:
            raise CommandError(f"gRPC cannot listen on {settings.GRPC_HOST}:{settings.GRPC_PORT}: {error}") from error
        server.start()
        # On a thread of its own, so that TERM is heeded while SQL does not answer.
        connections.close_all()
        background.Ticker("grpc-readiness", _LOOK_S, server.tell_readiness).ensure_started()
        collector.calm()
        logger.info("serving gRPC on %s:%d", server.host, server.port)
        while not stop.wait(1.0):
            # A wait without end would not let Python run the handler of a signal that another thread was given.
            pass
        logger.info("draining: what runs is finished within %g s", settings.GRPC_DRAIN_S)
        server.drain(settings.GRPC_DRAIN_S).wait()
        server.wait()
        background.finish()
        logger.info("stopped")
        processes.end_at_once()
