"""Images to the probabilities of classes.

What arrives is uint8 [height, width, channels], made to fit by the process that took the call. It goes to the device like that, a
quarter of the bytes of float32, and becomes `(value / 255 - mean) / std` there, by the options `mean` and `std` of each channel
(0 and 1 unless said). The option `architecture` names the network: `resnet` (the default), `small-cnn` or `mlp` (see
`networks`), or `transformers` (see `huggingface`).
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from inference.runtimes import contract, huggingface, networks, precision
from inference.runtimes.grids import Grids
from inference.runtimes.networks import ARCHITECTURES
from inference.runtimes.options import Options
from inference.runtimes.protocol import Array, Input, LoadError, RuntimeSpec

_BRIGHTEST = 255.0


class ImageClassification:
    """Runs a named network on images of one declared size."""

    def load(self, spec: RuntimeSpec) -> None:
        """Read the network; LoadError when it is unreadable or does not fit the declared size and classes."""
        self._shape = contract.shape_of(spec.input_schema)
        height, width, channels = self._shape
        options = Options(spec.options)
        architecture = options.choice("architecture", (*ARCHITECTURES, huggingface.ARCHITECTURE), default="resnet")
        mean = options.numbers("mean", length=channels, default=0.0)
        std = options.numbers("std", length=channels, default=1.0)
        options.done()
        if min(std) <= 0:
            raise LoadError("The option std divides; each of its numbers is greater than 0.")
        network: Callable[[Tensor], Tensor]
        if architecture == huggingface.ARCHITECTURE:
            network = huggingface.load_images(spec)
        else:
            loaded = networks.load(architecture, spec.artefact, shape=(channels, height, width), outputs=spec.outputs)
            network = precision.lower(loaded, spec).to(spec.device)
        dtype = precision.dtype_of(spec)
        # One product and one sum for each value: value * factor + offset.
        factor = (1 / (_BRIGHTEST * torch.tensor(std))).view(1, -1, 1, 1).to(spec.device)
        offset = (-torch.tensor(mean) / torch.tensor(std)).view(1, -1, 1, 1).to(spec.device)

        def run(pixels: Tensor) -> Tensor:
            return network(torch.addcmul(offset, pixels.permute(0, 3, 1, 2).float(), factor).to(dtype))

        self._grids = Grids(run, spec, holds=network)

    def warmup(self) -> None:
        """Classify one black image, and two."""
        black = np.zeros(self._shape, dtype=np.uint8)
        self.forward([black])
        self.forward([black, black])

    def forward(self, inputs: Sequence[Input]) -> Array:
        """Return float32 [len(inputs), classes]; every row sums to one."""
        return self._grids.probabilities(inputs)
