"""``make test``: the whole suite on SQLite, then everything that touches SQL once more on PostgreSQL.

What the second pass leaves out (``tests/conftest.py``) is the same on both: tests without SQL, the launcher, browsers,
and faces that reach SQL only through services.

``TEST_POSTGRES_URL`` names a server to use, otherwise a throw-away one is started where PostgreSQL is installed.
``REQUIRE_POSTGRES=1`` makes its absence a failure. Arguments are handed on to pytest.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.support.postgres import NoPostgresError, PostgresServer

ROOT = Path(__file__).resolve().parents[2]
# What an operator may have set for a running product must neither steer the tests nor be touched by them.
_FORGOTTEN = (
    "BROKER_URL",
    "CACHE_REDIS_URL",
    "DATABASE_URL",
    "DATA_DIR",
    "DEBUG",
    "GRPC_PORT",
    "REDIS_URL",
    "SECRET_KEY",
    "TEST_DATABASE_URL",
    "WEB_HOST",
    "WEB_PORT",
)


def main(arguments: Sequence[str]) -> int:
    """Run both passes; return 0 when both passed."""
    environ = {name: value for name, value in os.environ.items() if name not in _FORGOTTEN}
    print("Tests on SQLite", flush=True)
    status = _pytest(arguments, environ)
    if status != 0:
        return status
    try:
        with _postgres() as url:
            print("Tests on PostgreSQL", flush=True)
            return _pytest(arguments, {**environ, "TEST_DATABASE_URL": url})
    except NoPostgresError as error:
        if os.environ.get("REQUIRE_POSTGRES") == "1":
            print(f"{error} REQUIRE_POSTGRES=1 makes that a failure.")
            return 1
        print(f"{error} The suite ran on SQLite only.")
        return 0


@contextlib.contextmanager
def _postgres() -> Iterator[str]:
    """Give the URL of a PostgreSQL server for the time of the block; raises NoPostgresError."""
    given = os.environ.get("TEST_POSTGRES_URL")
    if given:
        yield given
        return
    with PostgresServer() as server:
        yield server.url


def _pytest(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Two workers: tests wait for processes and Redis enough that two keep two cores busy.

    Files go to them in the order of ``tests/conftest.py``, the longest first, so that none is left alone at the end.
    """
    workers = ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"]
    command = [sys.executable, "-m", "pytest", "-q", *workers, *arguments]
    return subprocess.run(command, cwd=ROOT, env=dict(environ), stdin=subprocess.DEVNULL).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
