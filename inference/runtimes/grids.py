"""Arrays of one shape to rows of numbers: from numpy to the device with at most one copy, then through a network."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inference.runtimes import acceleration
from inference.runtimes.acceleration import Network
from inference.runtimes.protocol import Array, Input, RuntimeSpec
from inference.types import Acceleration

# What lies in the bytes of a message cannot be written to, and nothing here writes to its inputs.
warnings.filterwarnings("ignore", message="The given NumPy array is not writable")


def stack(inputs: Sequence[Input]) -> Tensor:
    """[len(inputs), …] on the processor. Several are copied into one array, once; a single one is not copied at all, unless
    its numbers lie at addresses that are no multiple of their size.
    """
    if len(inputs) > 1:
        arrays: Sequence[Any] = inputs
        return torch.from_numpy(np.stack(arrays))
    alone: Any = inputs[0]
    return torch.from_numpy(np.require(alone, requirements=["ALIGNED", "C_CONTIGUOUS"])).unsqueeze(0)


class Grids:
    """A network over stacked inputs on its device, as fast as the version wants it. ``network`` returns logits."""

    def __init__(self, network: Network, spec: RuntimeSpec, *, holds: object) -> None:
        """`holds` is what has the weights, kept here in sight of who weighs them."""
        self._spec, self.holds = spec, holds
        self._network = acceleration.accelerate(network, spec)
        self._graphs = spec.acceleration == Acceleration.CUDA_GRAPHS

    def logits(self, inputs: Sequence[Input]) -> Tensor:
        """float32 [len(inputs), outputs] on the device."""
        given = stack(inputs)
        if self._graphs:
            more = acceleration.rounded_up(len(inputs)) - len(inputs)
            given = torch.cat([given, given.new_zeros(more, *given.shape[1:])])
        with torch.inference_mode():
            return self._network(given.to(self._spec.device, non_blocking=True))[: len(inputs)].float()

    def probabilities(self, inputs: Sequence[Input]) -> Array:
        """float32 [len(inputs), outputs]; every row sums to one."""
        with torch.inference_mode():
            rows: Array = torch.softmax(self.logits(inputs), dim=1).cpu().numpy()
        return rows
