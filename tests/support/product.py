"""The whole product as ``make run`` starts it, on free ports and a fresh DATA_DIR, for tests of real processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import psycopg

from mlplatform.run.environment import MARKER, ROOT
from tests.support.redis_server import free_port

READY_S = 240
STOP_S = 150
# The product under test has servers and secrets of its own, whatever the tests around it use.
_OWN = ("REDIS_URL", "CACHE_REDIS_URL", "BROKER_URL", "DATABASE_URL", "SECRET_KEY", "DJANGO_SETTINGS_MODULE")


class Product:
    """One run of the launcher. On PostgreSQL it gets a database of its own, which is dropped in the end."""

    def __init__(self, data_dir: Path, **variables: str) -> None:
        self.data_dir = data_dir
        self.output = data_dir.parent / f"{data_dir.name}.out"
        self._database = ""
        environ = {name: value for name, value in os.environ.items() if name not in _OWN}
        self.environ = {
            **environ,
            "DATA_DIR": str(data_dir),
            "WEB_PORT": str(free_port()),
            "GRPC_PORT": str(free_port()),
            "DATABASE_URL": self._make_database(os.environ.get("TEST_DATABASE_URL", "")),
            **variables,
        }
        self.launcher: subprocess.Popen[bytes] | None = None

    def launch(self) -> None:
        """Start the launcher without waiting for anything."""
        with self.output.open("ab") as output:
            self.launcher = subprocess.Popen(
                [sys.executable, "-m", "mlplatform.run"],
                cwd=ROOT,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def start(self) -> None:
        """Start and wait until the launcher says that everything is ready; raises AssertionError with its words."""
        before = self.said()
        self.launch()
        give_up = time.monotonic() + READY_S
        while "Everything is ready" not in self.said()[len(before) :]:
            assert self.launcher is not None
            assert self.launcher.poll() is None, self.said()
            assert time.monotonic() < give_up, self.said()
            time.sleep(0.1)

    def said(self) -> str:
        """Everything that the launcher has printed."""
        return self.output.read_text(errors="replace") if self.output.exists() else ""

    def demo(self) -> dict[str, Any]:
        """What seed_demo wrote for scripts."""
        loaded: dict[str, Any] = json.loads((self.data_dir / "demo.json").read_text())
        return loaded

    def processes(self) -> dict[int, str]:
        """Every living process of this run, by its mark in the environment, without the launcher itself."""
        found = {}
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARKER) == str(self.data_dir):
                    found[process.pid] = " ".join(process.cmdline())
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
        return found

    def pid_of(self, name: str) -> int:
        """The process id of a process of the Procfile, as it was started last."""
        log = (self.data_dir / "logs" / "supervisord.log").read_text()
        return int(re.findall(rf"spawned: '{re.escape(name)}' with pid (\d+)", log)[-1])

    def signal(self, number: signal.Signals) -> None:
        """Send the launcher a signal."""
        assert self.launcher is not None
        self.launcher.send_signal(number)

    def wait(self) -> int:
        """Wait until the launcher has ended; return its exit status."""
        assert self.launcher is not None
        return self.launcher.wait(timeout=STOP_S)

    def close(self) -> None:
        """End whatever is left, and drop the database."""
        if self.launcher is not None and self.launcher.poll() is None:
            self.launcher.terminate()
            try:
                self.wait()
            except subprocess.TimeoutExpired:
                self.launcher.kill()
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if self._database:
            with psycopg.connect(os.environ["TEST_DATABASE_URL"], autocommit=True) as connection:
                connection.execute(f'DROP DATABASE IF EXISTS "{self._database}" WITH (FORCE)')

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _make_database(self, server: str) -> str:
        if not server:
            return ""
        self._database = f"product_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{self._database}"')
        return f"{server.rsplit('/', 1)[0]}/{self._database}"
