"""Which processor cores each side of a comparison gets, and putting processes onto them (Linux).

Both sides of a comparison get the same: one core for the process that runs the model and one for the process that speaks
HTTP. Where there are only two cores, the load generator and everything else share the latter on both sides.
"""

import contextlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class Split:
    """Core numbers: of the model's process, of the web process, and of the load generator and all other processes."""

    worker: frozenset[int]
    web: frozenset[int]
    rest: frozenset[int]

    def said(self) -> str:
        """The split for a note below a table."""
        if self.worker == self.web:
            return "there is one core, for everything"
        rest = "shared with the web process" if self.rest == self.web else "on the remaining cores"
        return f"one core for the model's process, one for the web process; load generator and Redis {rest}"


def split(available: Collection[int]) -> Split:
    """Divide these cores: the last one computes, the first one speaks HTTP. Raises ValueError when there are none."""
    ordered = sorted(available)
    if not ordered:
        raise ValueError("There is no core to use.")
    worker, web = frozenset(ordered[-1:]), frozenset(ordered[:1])
    rest = frozenset(ordered[1:-1]) or web
    return Split(worker=worker, web=web, rest=rest)


def available() -> Split:
    """The split of the cores that this process may use."""
    return split(os.sched_getaffinity(0))


def pin(pid: int, cores: Collection[int]) -> None:
    """Keep a process, its children and all their threads on these cores. What ended meanwhile is no error."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            _pin_threads(each.pid, cores)


def _pin_threads(pid: int, cores: Collection[int]) -> None:
    # An affinity belongs to a thread. New threads inherit their maker's, so those that are there now are enough.
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(task.name), cores)


@contextlib.contextmanager
def pinned(parts: Mapping[str, Sequence[int]], *, worker: str, web: str) -> Iterator[Split]:
    """Put processes by the name of their part onto the cores of their role, and this process and what it starts onto the rest.

    ``parts`` are process ids by name; those not named by ``worker`` and ``web`` go to the rest. At the end all may use all.
    """
    everything = os.sched_getaffinity(0)
    found = split(everything)
    of = {worker: found.worker, web: found.web}
    try:
        for name, pids in parts.items():
            for pid in pids:
                pin(pid, of.get(name, found.rest))
        os.sched_setaffinity(0, found.rest)
        yield found
    finally:
        os.sched_setaffinity(0, everything)
        for pids in parts.values():
            for pid in pids:
                pin(pid, everything)
