"""Which device a worker computes on, and with how many threads."""

import os

import torch


def resolve(name: str) -> str:
    """Return "cpu" or "cuda:<n>" for "auto", "cpu", "cuda" or "cuda:<n>"; ValueError for anything unknown or absent.

    "auto" takes the first GPU where there is one. A GPU that was asked for by name but is not there is an error, not
    a silent fall-back to a processor that is twenty times slower.
    """
    if name == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return "cpu"
    kind, _, number = name.partition(":")
    if kind != "cuda" or (":" in name and not number.isdecimal()):
        raise ValueError(f"Unknown device {name!r}: use auto, cpu or cuda:<n>.")
    index = int(number or 0)
    available = torch.cuda.device_count()
    if index >= available:
        raise ValueError(f"The device {name!r} is not available: this machine has {available} CUDA devices.")
    return f"cuda:{index}"


def configure_threads(threads: int) -> int:
    """Let one operation use `threads` threads and return how many that is; call before any model loads.

    0 means one less than the cores this process may use, at least one: the web process needs a core as well.
    """
    if threads < 0:
        raise ValueError("The number of threads cannot be negative.")
    chosen = threads or max(1, len(os.sched_getaffinity(0)) - 1)
    torch.set_num_threads(chosen)
    return chosen
