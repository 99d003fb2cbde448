"""What is done to a loaded network so that it computes faster: compiled code, or CUDA graphs.

Both want batches as rectangles: a network is given as a function of tensors whose shapes depend on the number of inputs and
on the longest of them alone.
"""

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor

from inference.runtimes.protocol import LoadError, RuntimeSpec
from inference.types import Acceleration

Network = Callable[..., Tensor]

_WARM_RUNS: Final = 3


def accelerate(network: Network, spec: RuntimeSpec) -> Network:
    """The network as `spec.acceleration` has it. Raises LoadError where that cannot work."""
    if spec.acceleration == Acceleration.NONE:
        return network
    if spec.acceleration == Acceleration.COMPILE:
        return Compiled(network)
    if spec.acceleration != Acceleration.CUDA_GRAPHS:
        raise LoadError(f"Unknown acceleration {spec.acceleration!r}.")
    if not spec.device.startswith("cuda"):
        raise LoadError("CUDA graphs need a GPU; on a processor choose compile or none.")
    return Graphs(network)


def rounded_up(rows: int) -> int:
    """The next power of two: how many rows a batch has for CUDA graphs, of which each number of rows needs its own."""
    return 1 << (rows - 1).bit_length()


class Compiled:
    """`torch.compile` with sizes left open: it compiles at the first calls, that is during warm-up, and not for each batch."""

    def __init__(self, network: Network) -> None:
        self._network: Any = torch.compile(network, dynamic=True)
        self._worked = False

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Raises LoadError where nothing can be compiled, such as without a C++ compiler on a processor."""
        if self._worked:
            return self._network(*inputs)  # type: ignore[no-any-return]
        try:
            result: Tensor = self._network(*inputs)
        except Exception as error:  # the compiler's failures have no common class
            raise LoadError(f"torch.compile does not work here: {type(error).__name__}: {str(error)[:200]}") from error
        self._worked = True
        return result


class Graphs:
    """Records what the GPU does for each shape of inputs once, and plays it again: no launching, kernel by kernel.

    One thread calls it. All recordings share one pool of memory, which is right because no two play at once.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._recorded: dict[tuple[torch.Size, ...], tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...], Tensor]] = {}
        self._pool: Any = None

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Raises LoadError for a network that cannot be recorded, because it waits for the GPU in between."""
        key = tuple(one.shape for one in inputs)
        found = self._recorded.get(key)
        if found is None:
            found = self._recorded[key] = self._record(inputs)
        graph, places, result = found
        for place, given in zip(places, inputs, strict=True):
            place.copy_(given, non_blocking=True)
        graph.replay()
        return result.clone()

    def _record(self, inputs: tuple[Tensor, ...]) -> tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...], Tensor]:
        places = tuple(one.clone() for one in inputs)
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(_WARM_RUNS):  # so that libraries have taken their memory before the recording begins
                self._network(*places)
        torch.cuda.current_stream().wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                result = self._network(*places)
        except RuntimeError as error:
            raise LoadError(f"The network cannot be recorded as a CUDA graph: {str(error)[:200]}") from error
        self._pool = self._pool or graph.pool()
        return graph, places, result
