"""Child processes that always end, free ports, and the CPU time of a process with its children."""

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import IO, Final
from urllib.error import URLError
from urllib.request import urlopen

import psutil

ROOT: Final = Path(__file__).resolve().parent.parent


def free_port() -> int:
    """A TCP port of loopback that was free a moment ago."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def cpu_s(pids: Sequence[int]) -> float:
    """User and system seconds that these processes and their children have used."""
    total = 0.0
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            for each in (process, *process.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    times = each.cpu_times()
                    total += times.user + times.system
    return total


@contextlib.contextmanager
def running(
    argv: Sequence[str | Path], *, env: Mapping[str, str], log: Path, stop_s: float = 30.0, root: Path = ROOT
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, so that Ctrl-C reaches only us and we end it: TERM first, KILL when it stays.

    ``root`` is the checkout whose code it runs.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            argv,
            cwd=root,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end(process, stop_s)


def end(process: subprocess.Popen[bytes], stop_s: float) -> None:
    """End it and what is left of its session."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        process.wait(stop_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def wait_until(ready: Callable[[], bool], *, process: subprocess.Popen[bytes], log: Path, patience_s: float) -> None:
    """Raises RuntimeError with the end of the log when the process ends or is not ready in time."""
    give_up = monotonic() + patience_s
    while not ready():
        if process.poll() is not None or monotonic() > give_up:
            raise RuntimeError(f"{log.name} is not ready:\n{log.read_text(errors='replace')[-2000:]}")
        sleep(0.1)


def answers(port: int, path: str) -> bool:
    """Whether a server on loopback answers this address with success."""
    try:
        return read(port, path) is not None
    except (URLError, OSError):
        return False


def read(port: int, path: str) -> str:
    """The body of a GET on loopback. Raises URLError or OSError."""
    with urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        body: IO[bytes] = answer
        return body.read().decode()
