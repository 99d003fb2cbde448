"""Small arrays, such as grey images, to the probabilities of classes.

The option `architecture` names the network: `small-cnn` (the default), `mlp` or `resnet`; see `networks`. Its weights lie in
`model.safetensors` or `network.safetensors`. A `resnet` or `small-cnn` takes [height, width] or [channels, height, width].
"""

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor, nn

from inference.runtimes import networks, precision
from inference.runtimes.grids import Grids
from inference.runtimes.networks import ARCHITECTURES, NETWORK, SmallNetwork
from inference.runtimes.options import Options
from inference.runtimes.protocol import Array, Input, RuntimeSpec

__all__ = ["NETWORK", "SmallNetwork", "TensorClassification", "load_network"]


def load_network(weights: Mapping[str, Tensor], *, shape: Sequence[int], outputs: int) -> nn.Module:
    """Build a small network from its tensors; LoadError when they do not map images of `shape` to `outputs` classes."""
    return networks.build("small-cnn", weights, shape=shape, outputs=outputs)


class TensorClassification:
    """Runs a named network on arrays of one declared shape."""

    def load(self, spec: RuntimeSpec) -> None:
        """Read the network; LoadError when it is unreadable or does not fit the declared shape and classes."""
        options = Options(spec.options)
        architecture = options.choice("architecture", tuple(ARCHITECTURES), default="small-cnn")
        options.done()
        self._shape = tuple(spec.input_schema["shape"])
        network = networks.load(architecture, spec.artefact, shape=self._shape, outputs=spec.outputs)
        network = precision.lower(network, spec).to(spec.device)
        dtype = precision.dtype_of(spec)
        self._grids = Grids(lambda inputs: network(inputs.to(dtype)), spec, holds=network)

    def warmup(self) -> None:
        """Classify one empty image, and two."""
        empty = np.zeros(self._shape, dtype=np.float32)
        self.forward([empty])
        self.forward([empty, empty])

    def forward(self, inputs: Sequence[Input]) -> Array:
        """Return float32 [len(inputs), classes]; every row sums to one."""
        return self._grids.probabilities(inputs)
