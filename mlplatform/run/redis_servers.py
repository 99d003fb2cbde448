"""Prepares the Redis servers that the launcher starts itself, and knows when they are up."""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from mlplatform.lib import redis_urls
from mlplatform.run import private_files, redis_binary, redis_conf
from mlplatform.run.environment import LaunchPlan
from mlplatform.run.redis_conf import RedisRole

PREFERRED_PORTS: Mapping[RedisRole, int] = {RedisRole.STATE: 6390, RedisRole.CACHE: 6391}
_PASSWORD_BYTES = 32
_URL_VARIABLES: Mapping[RedisRole, str] = {RedisRole.STATE: "REDIS_URL", RedisRole.CACHE: "CACHE_REDIS_URL"}


@dataclass(frozen=True, slots=True)
class ManagedRedis:
    """A Redis server of this run."""

    role: RedisRole
    port: int
    password: str = field(repr=False)

    @property
    def program(self) -> str:
        """Its name in the Procfile."""
        return f"redis-{self.role}"

    @property
    def url(self) -> str:
        """Where its database 0 is, with the password."""
        return redis_urls.on_loopback(self.port, password=self.password)

    def answers(self, pid: int) -> bool:
        """Whether the process with this id listens and has loaded its files."""
        client = redis.Redis.from_url(self.url, socket_timeout=1.0, retry=Retry(NoBackoff(), 0))
        with contextlib.closing(client):
            try:
                return int(client.info("server")["process_id"]) == pid and client.ping()
            except redis.RedisError:
                return False


def prepare(plan: LaunchPlan) -> tuple[tuple[ManagedRedis, ...], dict[str, str]]:
    """Choose ports and a password, write the configuration files, and return the servers and the variables they add.

    The password is a new one at each start. A client tells it to whatever listens on the port, so another user of the
    machine who listens there while Redis is away may learn it; from the next start on it opens nothing.

    A role whose URL the operator gave gets no server. Ports are remembered in DATA_DIR, where commands beside
    the run find them, after its next start too; one that was taken meanwhile is replaced.
    """
    given = {RedisRole.STATE: plan.redis_url, RedisRole.CACHE: plan.cache_redis_url}
    variables = {"REDIS_SERVER": ""}
    servers: list[ManagedRedis] = []
    remembered = redis_urls.remembered_ports(plan.data_dir)
    password = secrets.token_urlsafe(_PASSWORD_BYTES)
    for role in RedisRole:
        if given[role]:
            variables[_URL_VARIABLES[role]] = given[role]
            continue
        avoid = {plan.web_port, plan.grpc_port, *(server.port for server in servers)}
        port = _choose((remembered.get(role, 0), PREFERRED_PORTS[role]), avoid)
        server = ManagedRedis(role=role, port=port, password=password)
        directory = plan.data_dir / server.program
        directory.mkdir(mode=0o700, exist_ok=True)
        conf = plan.run_dir / f"{server.program}.conf"
        private_files.write(conf, redis_conf.render(role=role, port=port, directory=directory, password=password))
        variables[_URL_VARIABLES[role]] = server.url
        servers.append(server)
    if servers:
        variables["REDIS_SERVER"] = str(redis_binary.find().path)
        private_files.write(redis_urls.password_file(plan.data_dir), password + "\n")
        private_files.write(
            redis_urls.ports_file(plan.data_dir), json.dumps({server.role.value: server.port for server in servers})
        )
    return tuple(servers), variables


def _choose(wanted: tuple[int, ...], avoid: set[int]) -> int:
    """Return the first wanted port that is free on loopback, else any free one."""
    for port in wanted:
        if port and port not in avoid and _is_free(port):
            return port
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind(("127.0.0.1", 0))
            chosen: int = probe.getsockname()[1]
        if chosen not in avoid:
            return chosen


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
