"""What becomes of memory that batches and models free."""

import ctypes
import subprocess
import sys
from types import SimpleNamespace

import pytest

from inference.runtimes import memory

_SCRIPT = """
import resource
import numpy as np
from inference.runtimes import memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        batch = [np.ones(2**20, dtype=np.float32) for _ in range(4)]
        del batch
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1])

before = faults()
memory.keep_freed()
faults()
kept = faults()
full = resident()
memory.free_unused("cpu")
print(before, kept, full - resident())
"""


def test_what_a_batch_frees_serves_the_next_one_and_what_a_model_frees_is_given_back() -> None:
    """In a process of its own, for it changes how that process allocates."""
    ran = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True)
    before, kept, given_back = map(int, ran.stdout.split())
    assert kept < before / 10
    assert given_back > 2048  # pages of 4 KiB: at least 8 of the 16 MiB


@pytest.mark.parametrize(
    ("most", "told"),
    [
        (2**40, [(-3, 2**30), (-1, 2**30)]),
        (2**25, [(-3, 2**30), (-3, 2**25), (-1, 2**30)]),  # glibc 2.34 and older
        (0, [(-3, 2**30), (-3, 2**25)]),
    ],
)
def test_the_trim_threshold_is_told_only_with_another_threshold_that_is_taken(
    most: int, told: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By itself it would fix the size from which buffers are mapped at its first value."""
    calls: list[tuple[int, int]] = []

    def mallopt(option: int, value: int) -> int:
        calls.append((option, value))
        return int(option == -1 or value <= most)

    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=mallopt))
    memory.keep_freed()
    assert calls == told
