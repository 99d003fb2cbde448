"""``make restart``: replaces each web process by a new one, with no call refused or broken, and with one web process too.

The new process takes the same listening socket; when it serves, the old one gets TERM: it stops accepting, says on each
answer that it is the last of its connection, finishes what it has begun, and ends.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Mapping
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

from mlplatform.http.listening import ready_file
from mlplatform.run import environment
from mlplatform.run.environment import LaunchPlan
from mlplatform.run.log_files import last_lines
from mlplatform.run.problems import LaunchError
from mlplatform.run.processes import control_of, rpc_of
from mlplatform.run.procfile import Tier, is_web

_READY_S = 120.0
_GONE = {"BACKOFF", "EXITED", "FATAL", "STOPPED"}


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Restart the web processes of the product that runs from DATA_DIR; return the exit status."""
    try:
        plan = environment.read(environ)
        _gather_static_files(plan)
        restart(plan.run_dir, plan.data_dir, plan.log_dir)
    except LaunchError as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


def _gather_static_files(plan: LaunchPlan) -> None:
    """Those of a new release, before its processes start; the old ones find theirs, which stay."""
    if not (plan.static_dir / "staticfiles.json").exists():
        return  # This installation serves them from where they lie.
    command = [sys.executable, "manage.py", "collect_static"]
    done = subprocess.run(command, cwd=plan.root, env=dict(plan.environ), capture_output=True, text=True)  # noqa: S603 (ours)
    if done.returncode:
        raise LaunchError(f"The static files cannot be gathered; the web processes go on.\n{done.stderr[-2000:]}")


def restart(run_dir: Path, data_dir: Path, log_dir: Path) -> None:
    """Replace them one after the other; raises LaunchError, and then those that serve go on."""
    supervisor = _supervisor(run_dir)
    found = [info for info in supervisor.getAllProcessInfo() if is_web(info["name"])]
    states = {info["name"]: info["statename"] for info in found}
    # supervisord says that a process runs when it has been there for some seconds; one that serves may be replaced before.
    serving = [info["name"] for info in found if info["pid"] and ready_file(data_dir, info["pid"]).exists()]
    free = [name for name, state in states.items() if state in _GONE]
    if not serving or not free:
        told = ", ".join(f"{name} is {state}" for name, state in sorted(states.items()))
        raise LaunchError(f"There must be a web process that runs, and a free place for a new one: {told}.")
    for stale in set(run_dir.glob("web-*.ready")) - {ready_file(data_dir, info["pid"]) for info in found}:
        stale.unlink(missing_ok=True)  # Of a process that was killed; the next one may get its number.
    for old in serving:
        new = free.pop(0)
        pid = _start(supervisor, new, data_dir, log_dir)
        print(f"{new} serves (process {pid}); {old} finishes what it has begun", flush=True)
        supervisor.stopProcess(f"{Tier.FACES}:{old}", True)
        free.append(old)
    print("The web processes are new.", flush=True)


def _start(supervisor: Any, name: str, data_dir: Path, log_dir: Path) -> int:
    """Start it and wait until it takes connections; return its process id."""
    full = f"{Tier.FACES}:{name}"
    supervisor.startProcess(full, False)
    give_up = time.monotonic() + _READY_S
    while True:
        info = supervisor.getProcessInfo(full)
        if info["pid"] and ready_file(data_dir, info["pid"]).exists():
            return int(info["pid"])
        if info["statename"] in _GONE or time.monotonic() > give_up:
            break
        time.sleep(0.05)
    with contextlib.suppress(xmlrpc.client.Fault):  # It has ended by itself.
        supervisor.stopProcess(full, True)
    log = log_dir / f"{name}.log"
    said = "\n".join(last_lines(log))
    raise LaunchError(f"A new web process does not serve; the others go on.\n{said}\nThe whole log: {log}")


def _supervisor(run_dir: Path) -> Any:
    parser = RawConfigParser()
    try:
        parser.read_string((run_dir / "supervisord.conf").read_text())
        supervisor = rpc_of(control_of(parser["unix_http_server"]))
        supervisor.getState()
    except (OSError, KeyError, xmlrpc.client.Error) as error:
        raise LaunchError(
            f"No product runs from this DATA_DIR ({run_dir.parent}): start it with `make run`."
        ) from error
    return supervisor


if __name__ == "__main__":
    sys.exit(main())
