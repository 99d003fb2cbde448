"""The trained part of a classifier: a small stack of linear layers with ReLU in between.

A head file is safetensors with `layers.<n>.weight` [out, in] and `layers.<n>.bias` [out], n counted from 0 without
gaps. One layer is a linear classifier. The shapes in the file are the whole architecture.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from inference.runtimes.protocol import LoadError

HEAD = "head.safetensors"


class Head(nn.Module):
    """Features [n, widths[0]] → logits [n, widths[-1]]."""

    def __init__(self, widths: Sequence[int], dropout: float = 0.0) -> None:
        super().__init__()
        self.inputs = widths[0]
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(widths))
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits; softmax is left to the caller, because training needs them bare."""
        for layer in self.layers[:-1]:
            features = self.dropout(torch.relu(layer(features)))
        logits: Tensor = self.layers[-1](features)
        return logits


def read_weights(file: Path) -> dict[str, Tensor]:
    """Return copies of the tensors in a safetensors file; LoadError when it is missing or not safetensors."""
    try:
        return {name: tensor.clone() for name, tensor in load_file(file).items()}
    except (OSError, safetensors.SafetensorError) as error:
        raise LoadError(f"{file.name} cannot be read: {error}") from error


def load_head(weights: dict[str, Tensor], *, outputs: int) -> Head:
    """Build a head from its tensors; LoadError when they are not a chain of layers that ends in `outputs`."""
    count = sum(name.endswith(".weight") for name in weights)
    shapes = [tuple(weights.get(f"layers.{number}.weight", torch.empty(0)).shape) for number in range(count)]
    if not shapes or any(len(shape) != 2 for shape in shapes):
        raise LoadError("A head consists of layers.0, layers.1, … with two-dimensional weights.")
    widths = [shapes[0][1], *(shape[0] for shape in shapes)]
    if widths[-1] != outputs:
        raise LoadError(f"The head tells {widths[-1]} classes apart, {outputs} were declared.")
    if any(after[1] != before[0] for before, after in pairwise(shapes)):
        # Before anything is made of it: layers of [n, 1] and [m, 1] are small files, a layer of [m, n] may fill the memory.
        raise LoadError("The layers of the head do not fit each other: each takes what the one before gives.")
    head = Head(widths)
    try:
        head.load_state_dict(weights)
    except RuntimeError as error:
        raise LoadError(f"The layers of the head do not fit each other: {error}") from error
    return head.eval().requires_grad_(requires_grad=False)
