"""Finds and ends what a run left behind when it was killed before it could drain.

Every process of a run carries the marker variable in its environment, so that nothing depends on a file of
process ids which could be old, or name a process that has since become another program's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mlplatform.run.environment import MARKER

KEEPER = "mlplatform.run.supervised"
"""The module in the command of a run's supervisord."""

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Leftover:
    """A process of a run."""

    pid: int
    command: str


def find(data_dir: Path) -> tuple[Leftover, ...]:
    """Return the processes of this user that belong to a run of data_dir, without this one."""
    found = _from_proc(data_dir) if (_PROC / "self" / "environ").exists() else _from_ps(data_dir)
    return tuple(one for one in found if one.pid != os.getpid())


def drain(data_dir: Path, *, patience_s: float) -> None:
    """Let the supervisord of a killed run drain its processes in their order, when it is still there."""
    until = time.monotonic() + patience_s
    keepers = [one for one in find(data_dir) if KEEPER in one.command]
    _send(keepers, signal.SIGTERM)
    while any(KEEPER in one.command for one in find(data_dir)) and time.monotonic() < until:
        time.sleep(0.1)


def end(data_dir: Path, *, patience_s: float) -> tuple[Leftover, ...]:
    """Send TERM to what is left, KILL to what does not go in patience_s; return what was found first."""
    first = found = find(data_dir)
    _send(found, signal.SIGTERM)
    until = time.monotonic() + patience_s
    while found and time.monotonic() < until:
        time.sleep(0.1)
        found = find(data_dir)
    while found:
        _send(found, signal.SIGKILL)
        time.sleep(0.05)
        found = find(data_dir)
    return first


def _send(processes: Iterable[Leftover], number: signal.Signals) -> None:
    for process in processes:
        try:
            os.kill(process.pid, number)
        except ProcessLookupError:
            continue


def _from_proc(data_dir: Path) -> Iterable[Leftover]:
    wanted = f"{MARKER}={data_dir}".encode()
    for folder in _PROC.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if wanted not in (folder / "environ").read_bytes().split(b"\0"):
                continue
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue  # It ended while we looked, or belongs to another user.
        yield Leftover(pid=int(folder.name), command=command)


def _from_ps(data_dir: Path) -> Iterable[Leftover]:
    """macOS has no /proc; its ps shows the environment of this user's processes after the command."""
    listing = subprocess.run(["/bin/ps", "axeww", "-o", "pid=,command="], capture_output=True, text=True, check=False)
    for line in listing.stdout.splitlines():
        pid, _, rest = line.strip().partition(" ")
        if f" {MARKER}={data_dir} " in f"{rest} ":
            yield Leftover(pid=int(pid), command=rest[:120])
