"""The load generator for ``echo``: ``python -m bench.echo_client`` takes a :class:`Job` and prints a :class:`ClientOutcome`.

A closed loop of inputs that never come twice; an answer is right when it holds the numbers of its own input.
"""

import random
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

import msgspec

from bench import client
from bench.client import ClientOutcome
from bench.echo_model import NAME, NUMBERS
from bench.processes import ROOT

_MOST: Final = 60_000


class Job(msgspec.Struct, frozen=True):
    """For how long, over how many connections; two jobs with different seeds send different inputs."""

    port: int
    headers: dict[str, str]
    connections: int
    seconds: float
    seed: int


class _Answer(msgspec.Struct):
    embedding: list[float]
    cached: bool


_decode: Final = msgspec.json.Decoder(_Answer).decode


def run_all(jobs: Sequence[Job]) -> list[ClientOutcome]:
    """Do these at the same time, each in a process of its own. Raises RuntimeError when an answer was wrong."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "bench.echo_client"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in jobs
    ]
    for process, job in zip(processes, jobs, strict=True):
        if process.stdin is None:
            raise RuntimeError("The load generator has no input.")
        process.stdin.write(msgspec.json.encode(job) + b"\n")
        process.stdin.flush()
    outcomes = []
    for process in processes:
        said, error = process.communicate(timeout=120)
        if process.returncode:
            raise RuntimeError(f"The load generator failed: {error.decode()[-2000:]}")
        outcomes.append(msgspec.json.decode(said, type=ClientOutcome))
    wrong = [each for outcome in outcomes for each in outcome.wrong]
    if wrong:
        raise RuntimeError(f"{len(wrong)} wrong answers, the first: {wrong[0]}")
    return outcomes


class Echoes(client.Generator):
    """Checks that each input came back to the one who sent it."""

    def __init__(self, job: Job) -> None:
        rng = random.Random(job.seed)
        self._inputs = [[round(rng.random(), 4) for _ in range(NUMBERS)] for _ in range(_MOST)]
        work = client.Job(
            port=job.port,
            headers=job.headers,
            texts=[],
            connections=job.connections,
            requests=_MOST,
            cached=False,
            seconds=job.seconds,
        )
        super().__init__(work, [_message(job, each) for each in self._inputs])

    def check(self, number: int, head: bytes, body: bytes) -> None:
        problem = problem_of(self._inputs[number], head, body)
        if problem:
            self.complain(problem)


def problem_of(sent: Sequence[float], head: bytes, body: bytes) -> str:
    """What is wrong with an answer to these numbers, or nothing."""
    if head.startswith(b"http/1.1 200 "):
        try:
            answer = _decode(body)
        except msgspec.MsgspecError as error:
            return f"{error}: {body[:300]!r}"
        apart = [abs(one - other) for one, other in zip(sent, answer.embedding, strict=False)]
        if not answer.cached and len(answer.embedding) == len(sent) and max(apart) < 1e-4:
            return ""
    return f"{head[:200]!r} {body[:300]!r}"


def _message(job: Job, numbers: list[float]) -> bytes:
    body = msgspec.json.encode({"model": NAME, "input": numbers})
    sent = {"Host": f"127.0.0.1:{job.port}", "Content-Type": "application/json", **job.headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    return f"POST /v2/predict HTTP/1.1\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


if __name__ == "__main__":
    _job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    sys.stdout.buffer.write(msgspec.json.encode(Echoes(_job).run()))
