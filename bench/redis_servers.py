"""Redis servers for the measurements, and their CPU time."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import redis

from bench.processes import free_port, running, wait_until
from mlplatform.run import redis_binary, redis_conf
from mlplatform.run.redis_conf import RedisRole


@dataclass(frozen=True, slots=True)
class RedisAt:
    """A Redis server on loopback."""

    port: int

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url, socket_timeout=5.0)

    def cpu_s(self) -> float:
        """User and system seconds that the server says it has used, to the microsecond."""
        with contextlib.closing(self.client()) as client:
            info = client.info("cpu")
        return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])

    def pid(self) -> int:
        """The server's process."""
        with contextlib.closing(self.client()) as client:
            return int(client.info("server")["process_id"])

    def answers(self) -> bool:
        with contextlib.suppress(redis.RedisError), contextlib.closing(self.client()) as client:
            return bool(client.ping())
        return False


@contextlib.contextmanager
def cache_server(directory: Path) -> Iterator[RedisAt]:
    """A server configured as the product's cache role: nothing is written to disk."""
    server = RedisAt(free_port())
    conf = directory / "reference-redis.conf"
    conf.write_text(redis_conf.render(role=RedisRole.CACHE, port=server.port, directory=directory))
    log = directory / "reference-redis.log"
    with running([redis_binary.find().path, conf], env=os.environ, log=log) as process:
        wait_until(server.answers, process=process, log=log, patience_s=15)
        yield server
