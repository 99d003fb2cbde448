"""The live ``sentiment`` model in a loop, with nothing around it: what the product's throughput is compared with.

A process of its own (``python -m bench.bare_model``) with the worker's torch settings; it reads one :class:`Loop` a
line from standard input and prints one :class:`Ran`.
"""

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from time import perf_counter

import msgspec

from bench.processes import ROOT


class Loop(msgspec.Struct, frozen=True):
    """Texts to compute in this order, in batches of this size."""

    texts: list[str]
    batch_size: int


class Ran(msgspec.Struct, frozen=True):
    """How long it took, the score of "positive" for each text, and the CPU seconds used."""

    wall_s: float
    cpu_s: float
    scores: list[float]
    threads: int
    device: str


class BareModel:
    """The process, waiting for loops."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def run(self, loop: Loop) -> Ran:
        """Run one loop. Raises RuntimeError when the process ended."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("The bare model has no pipes.")
        self._process.stdin.write(msgspec.json.encode(loop) + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("The bare model ended; its error is above.")
        return msgspec.json.decode(line, type=Ran)


@contextlib.contextmanager
def loaded(env: Mapping[str, str]) -> Iterator[BareModel]:
    """Load it in the product's environment, and end it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.bare_model"],
        cwd=ROOT,
        env=dict(env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield BareModel(process)
    finally:
        process.kill()
        process.communicate()


def _main() -> None:
    import django

    django.setup()
    import torch
    from django.conf import settings

    from inference import artefacts, registry
    from inference.models import ModelVersion, VersionState
    from inference.runtimes import devices, loading
    from inference.runtimes.protocol import RuntimeSpec

    device = devices.resolve(settings.WORKER_DEVICE)
    devices.configure_threads(settings.WORKER_TORCH_THREADS)
    version = ModelVersion.objects.select_related("model").get(model__name="sentiment", state=VersionState.LIVE)
    ref = registry.reference(version)
    folder = registry.artefact_folder(version)
    artefacts.verify(folder, expected=ref.digest)
    runtime = loading.RUNTIMES[ref.runtime]()
    runtime.load(
        RuntimeSpec(
            name=ref.name,
            version=ref.version,
            runtime=ref.runtime,
            artefact=folder,
            digest=ref.digest,
            outputs=ref.outputs,
            input_schema=ref.input_schema,
            max_batch_size=ref.max_batch_size,
            device=device,
        )
    )
    runtime.warmup()
    positive = ref.labels.index("positive")
    for line in sys.stdin.buffer:
        loop = msgspec.json.decode(line, type=Loop)
        scores: list[float] = []
        cpu_started, started = _cpu_s(), perf_counter()
        for at in range(0, len(loop.texts), loop.batch_size):
            scores += runtime.forward(loop.texts[at : at + loop.batch_size])[:, positive].tolist()
        ran = Ran(perf_counter() - started, _cpu_s() - cpu_started, scores, torch.get_num_threads(), device)
        sys.stdout.buffer.write(msgspec.json.encode(ran) + b"\n")
        sys.stdout.buffer.flush()


def _cpu_s() -> float:
    from time import process_time

    return process_time()


if __name__ == "__main__":
    _main()
