"""How much memory weights take, and how much there is for them on a device."""

import os
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

_GROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_SHARE_OF_MACHINE = 0.5
_SHARE_OF_GPU = 0.8
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


def free_unused(device: str) -> None:
    """Give memory of models that were dropped back to the device, where the allocator would keep it."""
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


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
