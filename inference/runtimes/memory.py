"""How much memory weights take, how much there is for them on a device, and what becomes of freed memory."""

import ctypes
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

_GROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_SHARE_OF_MACHINE = 0.5
_SHARE_OF_GPU = 0.8
# Numbers of malloc.h; more than a batch takes, and the most that glibc before 2.35 accepts.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES, _KEPT_BYTES_OF_OLD = 2**30, 2**25
_DEPTH = 6  # a checked runtime, its runtime, its encoder, and room for a wrapper or two


def budget(device: str, *, limit_mb: int) -> int:
    """How many bytes of weights a worker may hold: ``limit_mb``, or for 0 half of the machine's memory, 80 % of a GPU's.

    The rest is left for activations, for the other processes and for a version that is loaded beside the one it replaces.
    """
    if limit_mb:
        return limit_mb * 2**20
    if device.startswith("cuda"):
        return int(torch.cuda.get_device_properties(device).total_memory * _SHARE_OF_GPU)
    return int(_machine_bytes() * _SHARE_OF_MACHINE)


def weights_bytes(loaded: object) -> int:
    """What the tensors of a loaded model take, wherever they lie; each storage counts once, however many views it has."""
    storages = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for tensor in _tensors(loaded, _DEPTH, set())
    }
    return sum(storages.values())


def keep_freed() -> None:
    """Have this process keep what a batch frees for the next one; for processes that run models all day.

    By itself glibc gives large buffers back after each forward, and the kernel zeroes their pages anew for the next: 320 to
    1,200 page faults for a batch of 16 short texts, 10 with this. Nothing happens where the C library knows no mallopt.
    """
    mallopt = _c_function("mallopt")
    if mallopt is None:
        return
    # The second call ends the threshold's growth by itself: where the first was refused, it would stay at 128 KiB.
    if mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES) or mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES_OF_OLD):
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def free_unused(device: str) -> None:
    """Give memory of models that were dropped back to the device, where the allocator would keep it."""
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    malloc_trim = _c_function("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def _c_function(name: str) -> Callable[..., int] | None:
    """A function of the C library; None where it has no such one (musl, macOS)."""
    try:
        found: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError, TypeError):
        return None
    return found


def _machine_bytes() -> int:
    """The memory of the machine, or of the container where that is less."""
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _GROUP_LIMITS:
        text = path.read_text().strip() if path.is_file() else ""
        if text.isdigit():
            found = min(found, int(text))
    return found


def _tensors(value: object, depth: int, seen: set[int]) -> Iterator[Tensor]:
    if depth == 0 or id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Tensor):
        yield from _parts(value)
    elif isinstance(value, nn.Module):
        # The state holds what parameters() leaves out: the packed weights of quantised layers.
        yield from _tensors(value.state_dict(), depth, seen)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item, depth - 1, seen)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item, depth - 1, seen)
    elif type(value).__module__.startswith("inference.") and hasattr(value, "__dict__"):
        yield from _tensors(vars(value), depth, seen)


def _parts(tensor: Tensor) -> Iterator[Tensor]:
    # Sparse and quantised tensors of some kinds have no storage of their own to ask.
    if tensor.layout is torch.strided:
        yield tensor
