"""Starts the reference service: uvicorn with uvloop and httptools, one process, and a Redis of its own."""

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from bench.processes import answers, cpu_s, free_port, running, wait_until
from bench.redis_servers import RedisAt, cache_server

CACHED: Final = "bench.reference.app:app"
UNCACHED: Final = "bench.reference.echo:app"


@dataclass(frozen=True, slots=True)
class Reference:
    """A running reference service."""

    port: int
    pid: int
    redis: RedisAt

    def cpu_s(self) -> float:
        return cpu_s([self.pid])

    def remember(self, text: str, *, version: str, scores: dict[str, float]) -> None:
        """Put the product's answer to a text into the reference's cache."""
        from bench.reference.app import cache_key

        predictions = [{"label": label, "score": score} for label, score in scores.items()]
        value = msgspec.json.encode({"model_version": version, "predictions": predictions})
        with contextlib.closing(self.redis.client()) as client:
            client.set(cache_key("sentiment", text), value)


@contextlib.contextmanager
def started(directory: Path, *, app: str = CACHED) -> Iterator[Reference]:
    """Start it with its files in this folder, which is made, and stop it at the end."""
    port = free_port()
    directory.mkdir(exist_ok=True)
    log = directory / "reference.log"
    with cache_server(directory) as server:
        argv = [sys.executable, "-m", "uvicorn", app, "--host", "127.0.0.1", "--port", str(port)]
        argv += [
            "--workers",
            "1",
            "--loop",
            "uvloop",
            "--http",
            "httptools",
            "--no-access-log",
            "--log-level",
            "warning",
        ]
        env = {**os.environ, "REFERENCE_REDIS_URL": server.url}
        with running(argv, env=env, log=log) as process:
            wait_until(lambda: answers(port, "/livez"), process=process, log=log, patience_s=30)
            yield Reference(port=port, pid=process.pid, redis=server)
