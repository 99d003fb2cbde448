"""Every page of the admin, on the data of a busy year: how long it takes, how often it asks the database, how large it is."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench.processes import ROOT
from bench.redis_servers import cache_server
from bench.results import Result, Target

NAME: Final = "pages"
MOST_MS: Final = 200
MOST_QUERIES: Final = 15
MOST_KB: Final = 500
_QUICK: Final = 0.02


def run(folder: Path, *, quick: bool, database_url: str = "") -> Result:
    """Make the data in a database of its own (SQLite without ``database_url``, which must be empty), and open the pages."""
    for name in ("state", "cache", "data"):
        (folder / name).mkdir()
    with cache_server(folder / "state") as state, cache_server(folder / "cache") as cache:
        env = {
            **{name: os.environ[name] for name in ("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR") if name in os.environ},
            "DJANGO_SETTINGS_MODULE": "mlplatform.settings",
            "DATA_DIR": str(folder / "data"),
            "SECRET_KEY": secrets.token_urlsafe(60),
            "REDIS_URL": state.url,
            "CACHE_REDIS_URL": cache.url,
            "DATABASE_URL": database_url,
        }
        _step(env, "manage.py", "migrate", "--no-input")
        _step(env, "manage.py", "sync_roles")
        _step(env, "manage.py", "collect_static")
        print("Filling the database …", flush=True)
        filled = _step(env, "-m", "bench.pages.fill", "--share", str(_QUICK if quick else 1))
        print(filled, flush=True)
        measured: list[dict[str, Any]] = json.loads(_step(env, "-m", "bench.pages.measure"))
    return conclude(measured, database="PostgreSQL" if database_url.startswith("postgres") else "SQLite")


def _step(env: Mapping[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=dict(env), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed: {done.stderr[-2000:]}")
    return done.stdout


def conclude(measured: Sequence[Mapping[str, Any]], *, database: str) -> Result:
    """The slowest first. CPU is that of this process, SQLite included: what a page takes where nothing else runs.

    A download has no size to keep, and a page that does not answer 200 meets nothing."""
    rows = sorted(measured, key=lambda one: -one["p95_ms"])
    shown = [one for one in rows if not one["file"]]
    broken = [f"{one['name']} ({one['status']})" for one in rows if one["status"] != 200]
    return Result(
        scenario=NAME,
        what=(
            f"Each page of the admin on {database}, opened 20 times in one process through all middleware, after a first time:\n"
            "500 tenants, 300 model versions, 3 million usage records, 1.1 million daily sums, 200,000 items and end users,\n"
            "300,000 entries of the audit log."
        ),
        table=[
            ["page", "p95 ms", "median ms", "CPU ms", "first ms", "queries", "kB", "kB gzip"],
            *(
                [
                    one["name"],
                    f"{one['p95_ms']:.0f}",
                    f"{one['median_ms']:.0f}",
                    f"{one['cpu_ms']:.0f}",
                    f"{one['first_ms']:.0f}",
                    str(one["queries"]),
                    f"{one['bytes'] / 1000:.0f}",
                    f"{one['compressed'] / 1000:.0f}",
                ]
                for one in rows
            ),
        ],
        targets=[
            Target("every page answers 200", ", ".join(broken) or f"{len(rows)} pages", not broken),
            _target(f"every page ≤ {MOST_MS} ms at p95", rows, lambda one: one["p95_ms"], MOST_MS, " ms"),
            _target(f"every page ≤ {MOST_MS} ms of CPU, median", rows, lambda one: one["cpu_ms"], MOST_MS, " ms"),
            _target(f"every page ≤ {MOST_QUERIES} queries", rows, lambda one: one["queries"], MOST_QUERIES, ""),
            _target(f"every page ≤ {MOST_KB} kB", shown, lambda one: one["bytes"] / 1000, MOST_KB, " kB"),
        ],
    )


def _target(claim: str, rows: Sequence[Mapping[str, Any]], of: Any, most: float, unit: str) -> Target:
    over = sorted((one for one in rows if of(one) > most), key=of, reverse=True)
    if not over:
        return Target(claim, f"{max((of(one) for one in rows), default=0):.0f}{unit} at most", met=True)
    told = ", ".join(f"{one['name']} {of(one):.0f}" for one in over[:8])
    more = f" and {len(over) - 8} more" if len(over) > 8 else ""
    return Target(claim, f"{len(over)} of {len(rows)} over it: {told}{more}", met=False)
