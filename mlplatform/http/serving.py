"""The life of a web process: it looks whose Redis it has, takes its socket, serves, and drains."""

import argparse
import logging
import os
import resource
import sys
from typing import Final

from django.conf import settings
from django.db import connection
from django.urls import get_resolver

from mlplatform.http import limits as bounds
from mlplatform.http import listening
from mlplatform.http.bridge import WSGIApplication
from mlplatform.http.door import Door
from mlplatform.http.front import Front
from mlplatform.http.server import Server
from mlplatform.lib import background, collector, event_loop
from mlplatform.observability.health import readiness
from tenants import installation

logger = logging.getLogger(__name__)

_OTHER_FILES: Final = 1024
"""Files that a process opens beside its connections."""


def serve(application: WSGIApplication) -> None:
    """Serve by the command line until TERM."""
    parser = argparse.ArgumentParser(prog="python -m mlplatform.http", description="One web process.")
    parser.add_argument("--host", default=settings.WEB_HOST)
    parser.add_argument("--port", type=int, default=settings.WEB_PORT)
    parser.add_argument("--threads", type=int, default=128)
    arguments = parser.parse_args()
    installation.at_start()
    limits = bounds.of_settings(threads=arguments.threads)
    _warm_up()
    _allow_files(limits.connections + _OTHER_FILES)
    try:
        listener = listening.taken(arguments.host, arguments.port)
    except OSError as error:
        sys.exit(f"Cannot listen on {arguments.host} port {arguments.port}: {error.strerror or error}")
    server = Server(Front(application, limits), limits, on_ready=_on_ready, on_drain=_unsay_ready, door=Door())
    collector.calm()
    logger.info("process %s serves on %s port %s", os.getpid(), *listener.getsockname()[:2])
    try:
        server.run(sockets=[listener])
    finally:
        _unsay_ready()
        background.finish()
        logger.info("process %s has ended", os.getpid())


def _warm_up() -> None:
    """Import every view and connect to SQL and Redis before the first call does: the others would wait beside it, and some
    longer than they wait for Redis."""
    list(get_resolver().url_patterns)
    readiness()
    connection.close()


def _on_ready() -> None:
    """Before the first request: the engine runs on the server's loop."""
    event_loop.attach()
    _say_ready()


def _say_ready() -> None:
    file = listening.ready_file(settings.DATA_DIR, os.getpid())
    if file.parent.is_dir():
        file.touch(mode=0o600)


def _unsay_ready() -> None:
    listening.ready_file(settings.DATA_DIR, os.getpid()).unlink(missing_ok=True)


def _allow_files(number: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = number if hard == resource.RLIM_INFINITY else min(number, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
