"""Every process of the product, each under the test's own hand: to be killed, stopped, frozen and watched coming back.

The commands are those of the Procfile and the Redis servers have the product's configuration, so what is shown here
holds for ``make run``. In place of its launcher stands :class:`Stack`, which also can start two web processes that
share one DATA_DIR, and give each process variables of its own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import psycopg

from mlplatform.run import procfile, secret_key
from mlplatform.run.environment import ROOT
from tests.support.http import Answer, Http
from tests.support.redis_server import RedisServer, free_port
from tests.support.stack_shell import Shell
from tests.support.waiting import until

READY_S = 120.0
STOP_S = 45.0
PRIVATE_WORKER = "private-worker"
_RESTART_PAUSE_S = 0.3
_OWN = ("REDIS_URL", "CACHE_REDIS_URL", "BROKER_URL", "DATABASE_URL", "SECRET_KEY", "DATA_DIR", "WEB_PORT", "DEBUG")


class Process:
    """One program of the Procfile. While it is ``kept``, a process that dies is started again, as supervisord does."""

    def __init__(self, name: str, argv: Sequence[str], environ: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self.kept = False
        self.starts = 0
        self._argv = list(argv)
        self._environ = dict(environ)
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def twin(self, name: str) -> Process:
        """The same command under another name, not started."""
        return Process(name, self._argv, self._environ, self.log.with_name(f"{name}.log"))

    @property
    def pid(self) -> int:
        """The process id of the last start; raises RuntimeError before the first."""
        if self._child is None:
            raise RuntimeError(f"{self.name} was never started")
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def start(self) -> None:
        """Start it without waiting for readiness, and keep it."""
        with self._lock:
            self.kept = True
            self._spawn()

    def look_after(self) -> None:
        """Start it again if it should run and does not."""
        with self._lock:
            if self.kept and not self.running:
                self._sweep()
                self._spawn()

    def kill(self) -> None:
        """KILL, as the kernel does when memory is short; it comes back by itself while it is kept."""
        os.kill(self.pid, signal.SIGKILL)

    def terminate(self) -> None:
        """TERM, and do not start it again."""
        with self._lock:
            self.kept = False
            if self.running:
                os.kill(self.pid, signal.SIGTERM)

    def wait(self) -> int:
        """Wait until it has ended and give its exit status; raises TimeoutExpired when it does not end."""
        assert self._child is not None
        return self._child.wait(timeout=STOP_S)

    def close(self) -> None:
        """Kill it and its children."""
        with self._lock:
            self.kept = False
            self._sweep()
            if self._child is not None:
                self._child.wait()

    def tree(self) -> list[psutil.Process]:
        """The process and its children."""
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(self.pid)
            return [root, *root.children(recursive=True)]
        return []

    def text(self) -> str:
        """What it has logged."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def _spawn(self) -> None:
        with self.log.open("ab") as log:
            # A process group of its own lets _sweep reach the children that a killed parent leaves.
            self._child = subprocess.Popen(
                self._argv,
                cwd=ROOT,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.starts += 1

    def _sweep(self) -> None:
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child.pid, signal.SIGKILL)


class Stack:
    """Redis servers, two web processes, the gRPC process, GPU worker, jobs worker and beat on a fresh DATA_DIR with the
    demo in it; the worker of tenants' models on demand."""

    def __init__(self, data_dir: Path, *, webs: Sequence[Mapping[str, str]] = ({}, {}), **variables: str) -> None:
        self.data_dir = data_dir
        self.state = RedisServer(role="state")
        self.cache = RedisServer(role="cache")
        self.grpc_port = free_port()
        self.processes: dict[str, Process] = {}
        self.webs: list[Http] = []
        self._database = ""
        self._variables = variables
        self._web_variables = [dict(web) for web in webs]
        self._shell: Shell | None = None
        self.environ: dict[str, str] = {}
        """Of its processes, and of the shell that gives them commands; empty before the start."""
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="stack-keeper", daemon=True)

    @property
    def logs(self) -> Path:
        return self.data_dir / "logs"

    @property
    def gpu_worker(self) -> Process:
        return self.processes["gpu-worker"]

    @contextlib.contextmanager
    def another_gpu_worker(self) -> Iterator[Process]:
        """A second GPU worker by the same command; it is not started again when it dies."""
        process = self.gpu_worker.twin("gpu-worker-2")
        process.start()
        try:
            yield process
        finally:
            process.close()

    @contextlib.contextmanager
    def private_worker(self) -> Iterator[Process]:
        """The worker of tenants' models, for the time of the block; it is started again when it dies."""
        process = self.processes[PRIVATE_WORKER]
        process.start()
        try:
            yield process
        finally:
            process.close()

    @property
    def shell(self) -> Shell:
        """Python with the product's settings, in a process of its own."""
        assert self._shell is not None
        return self._shell

    def start(self) -> None:
        """Start everything and wait until both web processes say that they are ready."""
        self.state.start()
        self.cache.start()
        for folder in (self.data_dir, self.logs, self.data_dir / "run"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        secret_key.ensure(self.data_dir)
        environ = self.environ = self._environ()
        self._set_up(environ)
        self._define(environ)
        self._shell = Shell(environ, log=self.logs / "shell.log")
        for name, process in self.processes.items():
            if name != PRIVATE_WORKER:  # It costs seconds, and few tests need it.
                process.start()
        self._keeper.start()
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Every web process answers /readyz with 200; raises AssertionError with what it says instead."""
        for web in self.webs:
            until(partial(web.get, "/readyz"), lambda answer: answer.status == 200, within_s=READY_S)

    @property
    def grpc_target(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    def readyz(self) -> Answer:
        return self.webs[0].get("/readyz")

    @contextlib.contextmanager
    def without_database(self) -> Iterator[None]:
        """SQL cannot be reached by new connections: the file is no file, or the server lets no client in."""
        if self._database:
            self._let_in(False)
            try:
                yield
            finally:
                self._let_in(True)
            return
        # The file keeps its inode, so that a connection that is open loses nothing. No moment is without a file of this name:
        # a connection that is made then would make a new one.
        database = self.data_dir / "db.sqlite3"
        kept, nowhere = self.data_dir / "db.kept", self.data_dir / "db.nowhere"
        os.link(database, kept)
        nowhere.symlink_to(self.data_dir / "no such folder" / "db.sqlite3")
        nowhere.replace(database)
        try:
            yield
        finally:
            kept.replace(database)

    def _let_in(self, allowed: bool) -> None:
        with psycopg.connect(os.environ["TEST_DATABASE_URL"], autocommit=True) as connection:
            connection.execute(f'ALTER DATABASE "{self._database}" ALLOW_CONNECTIONS {str(allowed).lower()}')
            if not allowed:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [self._database]
                )

    def close(self) -> None:
        """End everything and drop the database; DATA_DIR is the caller's."""
        self._closing.set()
        if self._keeper.is_alive():
            self._keeper.join()
        for process in self.processes.values():
            process.close()
        if self._shell is not None:
            self._shell.close()
        self.state.close()
        self.cache.close()
        if self._database:
            with psycopg.connect(os.environ["TEST_DATABASE_URL"], autocommit=True) as connection:
                connection.execute(f'DROP DATABASE IF EXISTS "{self._database}" WITH (FORCE)')

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _environ(self) -> dict[str, str]:
        environ = {name: value for name, value in os.environ.items() if name not in _OWN}
        return {
            **environ,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), environ.get("PATH", os.defpath)]),
            "PYTHONUNBUFFERED": "1",
            "DJANGO_SETTINGS_MODULE": "mlplatform.settings",
            "DATA_DIR": str(self.data_dir),
            "DATABASE_URL": self._make_database(os.environ.get("TEST_DATABASE_URL", "")),
            "REDIS_URL": self.state.url,
            "CACHE_REDIS_URL": self.cache.url,
            "REDIS_SERVER": "",
            "WEB_HOST": "127.0.0.1",
            "WEB_PORT": "0",
            "WEB_WORKERS": "1",
            "WEB_THREADS": "40",
            "WORKER_POOLS": "gpu",
            "PRIVATE_MODELS_POOL": "private",
            "PRIVATE_MODELS_AT_ONCE": "4",
            **self._variables,
        }

    def _set_up(self, environ: Mapping[str, str]) -> None:
        with (self.logs / "setup.log").open("wb") as log:
            command = [sys.executable, "-m", "mlplatform.run.setup_steps", "1"]
            subprocess.run(command, cwd=ROOT, env=dict(environ), stdout=log, stderr=log, check=True)

    def _define(self, environ: Mapping[str, str]) -> None:
        text = (ROOT / "Procfile").read_text()
        for number, variables in enumerate(self._web_variables):
            port = free_port()
            values = {**environ, **variables, "WEB_PORT": str(port)}
            (program,) = [one for one in procfile.read(text, values) if one.name == "web"]
            self._add(f"web-{number}", program.argv, values)
            self.webs.append(Http(port))
        for program in procfile.read(text, environ):
            if program.tier is procfile.Tier.WORKERS:
                self._add(program.name, program.argv, environ)
            elif program.name == "grpc":
                self._add("grpc", program.argv, {**environ, "GRPC_PORT": str(self.grpc_port)})

    def _add(self, name: str, argv: Sequence[str], environ: Mapping[str, str]) -> None:
        self.processes[name] = Process(name, argv, environ, self.logs / f"{name}.log")

    def _keep(self) -> None:
        while not self._closing.wait(_RESTART_PAUSE_S):
            for process in self.processes.values():
                process.look_after()

    def _make_database(self, server: str) -> str:
        if not server:
            return ""
        self._database = f"stack_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{self._database}"')
        return f"{server.rsplit('/', 1)[0]}/{self._database}"
