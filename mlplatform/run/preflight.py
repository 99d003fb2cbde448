"""Looks before the launcher leaps: each check either passes or raises one line that says what to do."""

from __future__ import annotations

import shutil
import socket
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from mlplatform.run import redis_binary
from mlplatform.run.environment import LaunchPlan
from mlplatform.run.problems import LaunchError

MINIMUM_PYTHON = (3, 11)
MINIMUM_FREE_BYTES = 500 * 1024 * 1024
REDIS_ANSWER_S = 3.0


def python_version(version: tuple[int, ...] = sys.version_info[:3]) -> None:
    """Refuse a Python that is too old."""
    if version[:2] < MINIMUM_PYTHON:
        found = ".".join(str(part) for part in version)
        raise LaunchError(f"Python 3.11 or newer is needed, this is {found}: install it and remove .venv.")


def data_directory(path: Path) -> None:
    """Make DATA_DIR (mode 700, it holds secrets) and prove that files can be written there."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as probe:
            probe.write(b"\0" * 4096)
    except OSError as error:
        reason = error.strerror or str(error)
        raise LaunchError(
            f"DATA_DIR {path} cannot be written ({reason}): give another with `make run DATA_DIR=/some/folder`."
        ) from error


def free_disk(path: Path, *, minimum: int = MINIMUM_FREE_BYTES) -> None:
    """Refuse a disk that the models, the database and the logs would fill."""
    free = shutil.disk_usage(path).free
    if free < minimum:
        raise LaunchError(
            f"Only {free // 2**20} MB are free for DATA_DIR {path}, {minimum // 2**20} MB are needed: "
            "free some disk or give another DATA_DIR."
        )


def port_free(*, host: str, port: int, variable: str) -> None:
    """Refuse a port that another program listens on, or that this user may not take."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        name = variable.replace("PORT", "HOST")
        raise LaunchError(f"{name} {host!r} is no address of this machine: use 127.0.0.1.") from error
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as probe:
        # As the servers do: connections of a former run in TIME_WAIT are no obstacle, a listener is.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except PermissionError as error:
            raise LaunchError(
                f"This user may not listen on port {port} ({variable}): try `make run {variable}={port + 8000}`."
            ) from error
        except OSError as error:
            raise LaunchError(
                f"Port {port} on {host} is in use ({variable}): stop the other program or "
                f"choose another port, `make run {variable}={port + 1}`."
            ) from error


def redis_answers(*, url: str, variable: str) -> None:
    """Refuse a given Redis that does not answer; its password is never shown."""
    try:
        parts = urlsplit(url)
        shown = f"{parts.hostname}:{parts.port or 6379}"
        client = redis.Redis.from_url(
            url,
            socket_timeout=REDIS_ANSWER_S,
            socket_connect_timeout=REDIS_ANSWER_S,
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError as error:
        raise LaunchError(f"{variable} is no Redis URL: write redis://host:port/0.") from error
    try:
        client.ping()
    except redis.AuthenticationError as error:
        raise LaunchError(f"The Redis at {shown} ({variable}) refuses the password in the URL.") from error
    except (redis.RedisError, OSError) as error:
        raise LaunchError(
            f"The Redis at {shown} ({variable}) does not answer: start it, or unset {variable} and "
            "one is started for you."
        ) from error
    finally:
        client.close()


def check(plan: LaunchPlan) -> None:
    """Run every check that needs no files of the run; raises LaunchError at the first that fails."""
    free_disk(plan.data_dir)
    port_free(host=plan.web_host, port=plan.web_port, variable="WEB_PORT")
    port_free(host=plan.grpc_host, port=plan.grpc_port, variable="GRPC_PORT")
    given = {"REDIS_URL": plan.redis_url, "CACHE_REDIS_URL": plan.cache_redis_url}
    for variable, url in given.items():
        if url:
            redis_answers(url=url, variable=variable)
    if not all(given.values()):
        try:
            redis_binary.find()
        except redis_binary.NoRedisServerError as error:
            raise LaunchError(str(error)) from error
