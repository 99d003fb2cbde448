"""Load that keeps its timetable whatever the service does: requests go out when they are due, answered or not.

A latency counts from the moment a request was due, so that a generator or a server that falls behind cannot hide it. The
work is done by a process of :mod:`bench.open_loop_client`.
"""

import random
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

import msgspec

from bench.processes import ROOT

NO_ANSWER: Final = "no answer"
NOT_SENT: Final = "not sent"
BROKEN: Final = "broken"
OK: Final = "200"


class Stream(msgspec.Struct, frozen=True):
    """Requests of one customer: ``rate`` a second on average, at moments drawn from an exponential distribution."""

    name: str
    headers: dict[str, str]
    rate: float


class Job(msgspec.Struct, frozen=True):
    """What to send for how long, and how long a client waits for an answer before it hangs up."""

    port: int
    streams: list[Stream]
    seconds: float
    patience_s: float
    seed: int
    connections: int = 4000


class Seen(msgspec.Struct, frozen=True):
    """What one stream saw. ``statuses`` counts every request that was due: an HTTP status, or why there was none.

    ``latencies_ms`` are of the answers with status 200, from due to answered, in order of size; ``wrong`` tells of 200s that are
    no prediction. ``good_by_second`` counts the 200s by the second in which they came.
    """

    name: str
    statuses: dict[str, int]
    latencies_ms: list[float]
    wrong: list[str]
    good_by_second: list[int]

    @property
    def due(self) -> int:
        return sum(self.statuses.values())

    @property
    def good(self) -> int:
        return self.statuses.get(OK, 0)


class OpenLoopOutcome(msgspec.Struct, frozen=True):
    """Of all streams, in the job's order. ``late_ms`` is by how much the generator itself was late at the 99th percentile, and
    ``ended_at`` (unix seconds) when the timetable was over.
    """

    seen: list[Seen]
    late_ms: float
    cpu_s: float
    ended_at: float


def run(job: Job) -> OpenLoopOutcome:
    """Let a process of its own do the job. Raises RuntimeError with its words when it failed, or when a 200 was wrong."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.open_loop_client"],
        input=msgspec.json.encode(job),
        capture_output=True,
        cwd=ROOT,
        timeout=job.seconds + job.patience_s + 60,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"The load generator failed: {done.stderr.decode()[-2000:]}")
    outcome = msgspec.json.decode(done.stdout, type=OpenLoopOutcome)
    wrong = [each for seen in outcome.seen for each in seen.wrong]
    if wrong:
        raise RuntimeError(f"{len(wrong)} wrong answers, the first: {wrong[0]}")
    return outcome


def timetable(streams: Sequence[Stream], *, seconds: float, seed: int) -> list[tuple[float, int]]:
    """When which stream's requests are due: (seconds from the start, index of the stream), in order, the same for a seed."""
    due: list[tuple[float, int]] = []
    for index, stream in enumerate(streams):
        rng = random.Random(f"{seed} {stream.name}")
        at = rng.expovariate(stream.rate) if stream.rate > 0 else seconds
        while at < seconds:
            due.append((at, index))
            at += rng.expovariate(stream.rate)
    return sorted(due)


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which this share of the ordered values lies; 0 of none."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
