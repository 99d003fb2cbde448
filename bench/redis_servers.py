"""Redis servers for the measurements, and their CPU time."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import redis

from bench.processes import free_port, running, wait_until
from mlplatform.lib import redis_urls
from mlplatform.run import private_files, redis_binary, redis_conf
from mlplatform.run.redis_conf import RedisRole


@dataclass(frozen=True, slots=True)
class RedisAt:
    """A Redis server on loopback, or what stands before it."""

    port: int
    password: str = field(repr=False)

    @property
    def url(self) -> str:
        return redis_urls.on_loopback(self.port, password=self.password)

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
    server = RedisAt(free_port(), secrets.token_urlsafe(32))
    conf = directory / "reference-redis.conf"
    private_files.write(
        conf,
        redis_conf.render(role=RedisRole.CACHE, port=server.port, directory=directory, password=server.password),
    )
    log = directory / "reference-redis.log"
    with running([redis_binary.find().path, conf], env=os.environ, log=log) as process:
        wait_until(server.answers, process=process, log=log, patience_s=15)
        yield server
