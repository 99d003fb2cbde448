"""How good and how fast a model version is with one choice of precision and acceleration, on inputs whose answer is known."""

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

import numpy as np
import torch

from inference.runtimes import loading
from inference.runtimes.loading import CheckedRuntime
from inference.runtimes.protocol import Input, RuntimeSpec

_ALONE: Final = 50
_ROUNDS: Final = 3
CPU_INFO: Final = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class Measured:
    """``accuracy`` is the share of inputs whose most probable label is theirs. ``inputs_per_s`` is of full batches, the best
    of three rounds over all inputs; ``alone_ms`` the median time of one input in a batch of its own. Both are of the loaded
    model without the service around it."""

    precision: str
    acceleration: str
    n: int
    accuracy: float
    inputs_per_s: float
    alone_ms: float


def measure(
    spec: RuntimeSpec,
    inputs: Sequence[Input],
    labels: Sequence[int],
    *,
    load: Callable[[RuntimeSpec], CheckedRuntime] = loading.load,
) -> Measured:
    """Load the version as ``spec`` has it and measure it. Raises what loading raises, ValueError without inputs."""
    if not inputs or len(inputs) != len(labels):
        raise ValueError("There must be inputs, and one label for each.")
    runtime = load(spec)
    best = float("inf")
    for _ in range(_ROUNDS):
        started = perf_counter()
        answers = runtime.run(inputs)
        best = min(best, perf_counter() - started)
    alone = []
    for one in inputs[:_ALONE]:
        started = perf_counter()
        runtime.run([one])
        alone.append(perf_counter() - started)
    right = float((answers.argmax(axis=1) == np.asarray(labels)).mean())
    return Measured(
        precision=spec.precision,
        acceleration=spec.acceleration,
        n=len(inputs),
        accuracy=right,
        inputs_per_s=len(inputs) / best,
        alone_ms=median(alone) * 1000,
    )


def device_name(device: str) -> str:
    """What people call a device, of at most 100 characters: the GPU's name for "cuda:0", the processor's for "cpu"."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)[:100]
    return (_processor() or platform.processor() or platform.machine() or device)[:100]


def _processor() -> str:
    """As Linux tells it; empty on other systems, and on processors that have no name there, as most of ARM."""
    try:
        lines = CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    names = (line.partition(":")[2] for line in lines if line.startswith("model name"))
    return " ".join(next(names, "").split())
