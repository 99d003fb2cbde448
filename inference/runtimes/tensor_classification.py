"""Small arrays, such as grey images, to the probabilities of classes: a small convolutional network.

The file `network.safetensors` is the whole architecture:

- `scale` [1]: inputs are divided by it,
- `convolutions.<n>.weight` [out, in, 3, 3] and `.bias`: convolutions that keep height and width, each followed by ReLU;
  every second one is followed by 2x2 max pooling,
- `head.layers.<n>.weight` and `.bias`: a head (see `heads`) on the flattened result.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from inference.runtimes.heads import Head, read_weights
from inference.runtimes.protocol import Array, Input, LoadError, RuntimeSpec

NETWORK = "network.safetensors"


class SmallNetwork(nn.Module):
    """Images [n, height, width] → logits [n, classes]."""

    scale: Tensor

    def __init__(self, channels: Sequence[int], head: Sequence[int], dropout: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(1))
        self.convolutions = nn.ModuleList(nn.Conv2d(*pair, kernel_size=3, padding=1) for pair in pairwise(channels))
        self.head = Head(head, dropout)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits; softmax is left to the caller, because training needs them bare."""
        maps = (images / self.scale).unsqueeze(1)
        for number, convolution in enumerate(self.convolutions):
            maps = torch.relu(convolution(maps))
            if number % 2 == 1:
                maps = functional.max_pool2d(maps, 2)
        logits: Tensor = self.head(maps.flatten(1))
        return logits


def load_network(weights: Mapping[str, Tensor], *, shape: Sequence[int], outputs: int) -> SmallNetwork:
    """Build a network from its tensors; LoadError when they do not map images of `shape` to `outputs` classes."""
    try:
        network = SmallNetwork(*_widths(weights))
        network.load_state_dict(dict(weights))
        with torch.inference_mode():
            result = network(torch.zeros(1, *shape))
    except (KeyError, IndexError, RuntimeError) as error:
        raise LoadError(f"{NETWORK} is not a network for inputs of the shape {tuple(shape)}: {error}") from error
    if result.shape != (1, outputs):
        raise LoadError(f"{NETWORK} tells {result.shape[1]} classes apart, {outputs} were declared.")
    return network.eval().requires_grad_(requires_grad=False)


def _widths(weights: Mapping[str, Tensor]) -> tuple[list[int], list[int]]:
    """Channels of the convolutions and widths of the head, read off the shapes of the weights."""
    names = [name for name in weights if name.endswith(".weight")]
    convolutions = sum(name.startswith("convolutions.") for name in names)
    channels = [weights["convolutions.0.weight"].shape[1]]
    channels += [weights[f"convolutions.{number}.weight"].shape[0] for number in range(convolutions)]
    head = [weights["head.layers.0.weight"].shape[1]]
    head += [weights[f"head.layers.{number}.weight"].shape[0] for number in range(len(names) - convolutions)]
    return channels, head


class TensorClassification:
    """Runs a small convolutional network on arrays of one declared shape [height, width]."""

    def load(self, spec: RuntimeSpec) -> None:
        """Read the network; LoadError when it is unreadable or does not fit the declared shape and classes."""
        self._schema: Mapping[str, Any] = spec.input_schema
        self._device = spec.device
        shape = spec.input_schema["shape"]
        network = load_network(read_weights(spec.artefact / NETWORK), shape=shape, outputs=spec.outputs)
        self._network = network.to(spec.device)

    def warmup(self) -> None:
        """Classify two empty images."""
        empty = np.zeros(self._schema["shape"], dtype=np.float32)
        self.forward([empty, empty])

    def forward(self, inputs: Sequence[Input]) -> Array:
        """Return float32 [len(inputs), classes]; every row sums to one."""
        images = torch.from_numpy(np.stack([np.asarray(image, dtype=np.float32) for image in inputs]))
        with torch.inference_mode():
            logits = self._network(images.to(self._device))
            probabilities: Array = torch.softmax(logits, dim=1).cpu().numpy()
        return probabilities
