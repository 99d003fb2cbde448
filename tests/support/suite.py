"""``make test-fast``, ``make test`` and ``make test-all``: which tests each of them runs, on which database.

``tests/support/tiers.py`` decides which test belongs where. ``make test-all`` runs what ``make test`` leaves out: the last
tier and every property with many examples on SQLite, then all that touches SQL on PostgreSQL. A path among the arguments
runs everything in it, whatever its tier. Other arguments are handed on to pytest.

``TEST_POSTGRES_URL`` names a server to use, otherwise a throw-away one is started where PostgreSQL is installed.
``REQUIRE_POSTGRES=1`` makes its absence a failure.
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
    # Without bytecode every worker and every started process compiles the product and the tests again.
    "PYTHONDONTWRITEBYTECODE",
    "REDIS_URL",
    "SECRET_KEY",
    "TEST_DATABASE_URL",
    "WEB_HOST",
    "WEB_PORT",
)
_NO_TESTS = 5  # pytest's status when nothing was selected
LEFT_OUT = {
    "fast": "tests that start processes, load models, open a browser or take long: `make test` runs all but the slowest of "
    "them, `make test-all` the rest, also on PostgreSQL.",
    "test": "PostgreSQL, browsers, the launcher, killed and stopped processes, soaks, and most examples of properties: "
    "`make test-all` runs them.",
    "all": "what `make test` runs, on SQLite: run both before you hand in.",
}
"""What each target says at its end."""


def main(target: str, arguments: Sequence[str]) -> int:
    """Run the passes of a target until one fails; return 0 when all passed."""
    environ = {name: value for name, value in os.environ.items() if name not in _FORGOTTEN}
    paths = [argument for argument in arguments if _is_path(argument)]
    environ["TEST_EXAMPLES"] = "many" if target == "all" else "few"
    print("Tests on SQLite", flush=True)
    status = _pytest(arguments, environ, tier="" if paths else target)
    if target == "all" and status in ({0, _NO_TESTS} if paths else {0}):
        status = _on_postgres(arguments, environ, status)
    print(f"Left out: {_of_paths(target, paths) if paths else LEFT_OUT[target]}", flush=True)
    return status


def _of_paths(target: str, paths: Sequence[str]) -> str:
    named = " ".join(paths)
    if target == "all":
        return f"nothing of {named}."
    return f"PostgreSQL and most examples of properties: `make test-all ARGS={named!r}` runs them."


def _is_path(argument: str) -> bool:
    return not argument.startswith("-") and (ROOT / argument.partition("::")[0]).exists()


def _on_postgres(arguments: Sequence[str], environ: Mapping[str, str], before: int) -> int:
    try:
        with _postgres() as url:
            print("Tests on PostgreSQL", flush=True)
            # Other examples than on SQLite would be no reason to run a property twice at length.
            given = {**environ, "TEST_DATABASE_URL": url, "TEST_EXAMPLES": "few"}
            status = _pytest(arguments, given)
    except NoPostgresError as error:
        if os.environ.get("REQUIRE_POSTGRES") == "1":
            print(f"{error} REQUIRE_POSTGRES=1 makes that a failure.")
            return 1
        print(f"{error} Nothing ran on PostgreSQL.")
        return before
    return before if status == _NO_TESTS else status


@contextlib.contextmanager
def _postgres() -> Iterator[str]:
    """Give the URL of a PostgreSQL server for the time of the block; raises NoPostgresError."""
    given = os.environ.get("TEST_POSTGRES_URL")
    if given:
        yield given
        return
    with PostgresServer() as server:
        yield server.url


def _pytest(arguments: Sequence[str], environ: Mapping[str, str], *, tier: str = "") -> int:
    """Two workers: tests wait for processes and Redis enough that two keep two cores busy.

    Files go to them in the order of ``tests/support/tiers.py``, the longest first, so that none is left alone at the end.
    """
    workers = ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"]
    tiers = ["--tier", tier] if tier else []
    command = [sys.executable, "-m", "pytest", "-q", *workers, *tiers, *arguments]
    return subprocess.run(command, cwd=ROOT, env=dict(environ), stdin=subprocess.DEVNULL).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
