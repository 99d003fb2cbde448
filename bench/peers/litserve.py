"""Starts LitServe beside the product, on the same cores, and stops it while it is not measured."""

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from bench import cores
from bench.cores import Split
from bench.model_spec import Described
from bench.peers import install
from bench.processes import answers, free_port, running, wait_until

_START_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class LitServe:
    """A LitServe that serves ``sentiment``; it stands still outside of :meth:`awake`, because an idle one polls."""

    port: int
    batch_timeout_s: float
    pid: int

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        """Let all of its processes run."""
        os.killpg(self.pid, signal.SIGCONT)
        try:
            yield
        finally:
            os.killpg(self.pid, signal.SIGSTOP)


@contextlib.contextmanager
def started(
    described: Described,
    split: Split,
    folder: Path,
    *,
    max_batch_size: int,
    batch_timeout_s: float,
    padded: bool = False,
) -> Iterator[LitServe]:
    """Start it with these settings, stopped as soon as it answers. Raises RuntimeError when it does not come up.

    It runs its batches as the product's runtime does, or ``padded`` as :mod:`bench.peers.padded` says.
    """
    python = install.ensure()
    port = free_port()
    file, log = folder / f"litserve-{port}.json", folder / f"litserve-{port}.log"
    serving = {
        "described": described,
        "port": port,
        "max_batch_size": max_batch_size,
        "batch_timeout_s": batch_timeout_s,
        "padded": padded,
        "worker_cores": sorted(split.worker),
    }
    file.write_bytes(msgspec.json.encode(serving))
    env = {name: os.environ[name] for name in ("HOME", "LANG", "PATH", "TMPDIR") if name in os.environ}
    with running([python, "-m", "bench.peers.litserve_server", file], env=env, log=log) as process:
        cores.pin(process.pid, split.web)
        wait_until(lambda: answers(port, "/health"), process=process, log=log, patience_s=_START_S)
        os.killpg(process.pid, signal.SIGSTOP)
        try:
            yield LitServe(port=port, batch_timeout_s=batch_timeout_s, pid=process.pid)
        finally:
            os.killpg(process.pid, signal.SIGCONT)
