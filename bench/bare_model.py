"""A live model in a loop, with nothing around it: what the product's throughput and latency are compared with.

A process of its own (``python -m bench.bare_model``) with the worker's torch settings; it reads the model's description
as its first line, then one :class:`Loop` a line from standard input, and prints one :class:`Ran` for each.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from time import perf_counter, process_time, sleep

import msgspec

from bench import model_spec
from bench.processes import ROOT


class Loop(msgspec.Struct, frozen=True):
    """Texts to compute in this order, in batches of this size, with a pause between batches (seconds, not counted)."""

    texts: list[str]
    batch_size: int
    pause_s: float = 0.0


class Ran(msgspec.Struct, frozen=True):
    """How long it took without the pauses, milliseconds of each batch, the CPU seconds used, and a score of each text.

    The score is that of the label "positive"; of a model without it, the first column.
    """

    wall_s: float
    batch_ms: list[float]
    cpu_s: float
    scores: list[float]
    threads: int
    device: str

    @property
    def per_second(self) -> float:
        return len(self.scores) / self.wall_s


class BareModel:
    """The process, waiting for loops."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def run(self, loop: Loop) -> Ran:
        """Run one loop. Raises RuntimeError when the process ended."""
        return msgspec.json.decode(self.say(msgspec.json.encode(loop)), type=Ran)

    def say(self, line: bytes) -> bytes:
        """Send a line and give the line that comes back. Raises RuntimeError when the process ended."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("The bare model has no pipes.")
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line + b"\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("The bare model ended; its error is above.")
        return answer


@contextlib.contextmanager
def loaded(
    env: Mapping[str, str], *, name: str = "sentiment", cores: Collection[int] | None = None
) -> Iterator[BareModel]:
    """Load the live version of a model in the product's environment, on these cores, and end it."""
    described = model_spec.read(name, env)
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.bare_model"],
        cwd=ROOT,
        env=dict(env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        if cores:
            os.sched_setaffinity(process.pid, cores)
        bare = BareModel(process)
        bare.say(msgspec.json.encode(described))
        yield bare
    finally:
        process.kill()
        process.communicate()


def _main() -> None:
    import torch

    from inference.runtimes import devices, loading

    described = model_spec.parse(sys.stdin.buffer.readline())
    spec = described.runtime_spec()
    devices.configure_threads(described.torch_threads)
    runtime = loading.RUNTIMES[spec.runtime]()
    runtime.load(spec)
    runtime.warmup()
    column = described.labels.index("positive") if "positive" in described.labels else 0
    _print(b"{}")
    for line in sys.stdin.buffer:
        loop = msgspec.json.decode(line, type=Loop)
        scores: list[float] = []
        batch_ms: list[float] = []
        cpu_started = process_time()
        for at in range(0, len(loop.texts), loop.batch_size):
            if loop.pause_s:
                sleep(loop.pause_s)
            started = perf_counter()
            scores += runtime.forward(loop.texts[at : at + loop.batch_size])[:, column].tolist()
            batch_ms.append((perf_counter() - started) * 1000)
        cpu_s = process_time() - cpu_started
        _print(
            msgspec.json.encode(
                Ran(sum(batch_ms) / 1000, batch_ms, cpu_s, scores, torch.get_num_threads(), spec.device)
            )
        )


def _print(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    _main()
