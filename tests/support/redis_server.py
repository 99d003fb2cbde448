"""A real, throw-away Redis server for tests, with the configuration of one role of the product, password included.

It can be stopped, killed, paused and started again on the same port with the same files, so that tests can
show what the product does while a dependency is down, hangs or comes back.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from mlplatform.lib import redis_urls
from mlplatform.run import redis_binary, redis_conf
from mlplatform.run.redis_conf import RedisRole

START_TIMEOUT_S = 15.0
BIND_ATTEMPTS = 5


_FIRST_PORT = 20_000
_PORTS = 12_000
"""Below those that Linux gives to connections and to who binds port 0."""

_numbers = itertools.count(secrets.randbelow(_PORTS))


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that was free a moment ago, from a range that no other process of this run of pytest draws
    from. Its binder must be ready to try another."""
    mine = _PORTS // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    first = _FIRST_PORT + mine * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    while True:
        port = first + next(_numbers) % mine
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class RedisServer:
    """One server process; a context manager that starts it and removes every trace of it.

    ``stop`` ends it as an operator would (it writes its files), ``kill`` as a crash would; ``start`` brings
    it back on the same port with what its files hold. ``pause`` freezes it: no answers.
    """

    def __init__(self, *, role: RedisRole | str = RedisRole.STATE, bundled: bool = False) -> None:
        self.role = RedisRole(role)
        self.directory = Path(tempfile.mkdtemp(prefix=f"test-redis-{self.role}-"))
        self.port = free_port()
        self.password = secrets.token_urlsafe(24)
        self._binary = (redis_binary.bundled() if bundled else redis_binary.find()).path
        self._process: subprocess.Popen[bytes] | None = None
        self._ever_started = False
        self._flushing: redis.Redis | None = None

    @property
    def url(self) -> str:
        """The URL of database 0, with the password."""
        return redis_urls.on_loopback(self.port, password=self.password)

    @property
    def pid(self) -> int:
        """The process id; raises RuntimeError when it is not running."""
        if self._process is None:
            raise RuntimeError("this Redis server is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is alive (a paused one is)."""
        return self._process is not None and self._process.poll() is None

    def client(self, *, socket_timeout: float | None = 5.0) -> redis.Redis:
        """Return a client without retries, so that a test sees the first failure."""
        return redis.Redis.from_url(self.url, socket_timeout=socket_timeout, retry=Retry(NoBackoff(), 0))

    def start(self) -> None:
        """Start the process and wait until it answers; raises RuntimeError with its log when it does not."""
        if self.running:
            return
        for _attempt in range(BIND_ATTEMPTS):
            if self._start_once():
                self._ever_started = True
                return
            if self._ever_started:
                time.sleep(0.5)  # Clients know this port; another server that took it meanwhile may leave it.
            else:
                self.port = free_port()
        raise RuntimeError(f"Redis did not start:\n{self.log()}")

    def stop(self) -> None:
        """End the process by TERM, as an operator does, and wait for it."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the process by KILL, as a crash does, and wait for it."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop and start again on the same port with the same files."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze the process: it accepts connections through the kernel's backlog and never answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen process go on."""
        os.kill(self.pid, signal.SIGCONT)

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """For the time of the block its password is another, and who was signed in has to connect anew."""
        with contextlib.closing(self.client()) as signed_in:
            signed_in.config_set("requirepass", secrets.token_urlsafe(24))
            signed_in.client_kill_filter(_type="normal", skipme=True)
            try:
                yield
            finally:
                signed_in.config_set("requirepass", self.password)

    def flush(self) -> None:
        """Empty every database, between two tests, in one round trip."""
        if self._flushing is None:
            self._flushing = self.client()
        try:
            self._flush(self._flushing)
        except redis.ConnectionError:  # The server was started anew since, or a test ended its connections.
            self._flush(self._flushing)

    @staticmethod
    def _flush(client: redis.Redis) -> None:
        commands = client.pipeline(transaction=False)
        commands.flushall()
        commands.script_flush()
        commands.execute()

    def log(self) -> str:
        """What the server wrote, of all its starts."""
        file = self.directory / "log"
        return file.read_text(errors="replace") if file.exists() else ""

    def close(self) -> None:
        """Kill the process and remove its folder; safe to call twice."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start_once(self) -> bool:
        conf = self.directory / "redis.conf"
        conf.write_text(
            redis_conf.render(role=self.role, port=self.port, directory=self.directory, password=self.password)
        )
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen([self._binary, conf], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        give_up = time.monotonic() + START_TIMEOUT_S
        with contextlib.closing(self.client(socket_timeout=1.0)) as client:
            while time.monotonic() < give_up and self.running:
                # The pid check tells our server from a stranger that took the port first.
                with contextlib.suppress(redis.RedisError):
                    ours = int(client.info("server")["process_id"]) == self._process.pid
                    # It answers INFO while it still reads its files, and refuses everything else.
                    if ours and not client.info("persistence")["loading"]:
                        return True
                time.sleep(0.01)
        self.kill()
        return False

    def _end(self, sign: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(sign)
            process.send_signal(signal.SIGCONT)  # A paused process would never handle TERM.
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
