"""Networks over grids of numbers by the names of their architectures; the shapes in a file say the rest.

- `small-cnn`: `scale` [1], by which inputs are divided; `convolutions.<n>` [out, in, 3, 3], which keep height and width, each
  followed by ReLU, every second one by 2x2 max pooling; a head `head.layers.<n>` (see `heads`) on the flattened result.
- `mlp`: `layers.<n>` on the flattened input, with ReLU in between.
- `resnet`: the names of torchvision's state dict (`conv1`, `bn1`, `layer1.0.conv1`, …, `fc`), with basic blocks or bottlenecks.
  A first convolution of 7x7 halves height and width and is followed by pooling, as in the paper's networks for photographs; a
  smaller one keeps them, as in its networks for small pictures.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from inference.runtimes.heads import Head, load_head, read_weights
from inference.runtimes.protocol import LoadError

NETWORK: Final = "network.safetensors"
WEIGHTS: Final = "model.safetensors"
_STAGE: Final = re.compile(r"layer(\d)\.(\d+)\.conv1\.weight")
_LARGE_STEM: Final = 5  # kernels from this size on halve the picture


class SmallNetwork(nn.Module):
    """Grids [n, height, width] or [n, channels, height, width] → logits [n, classes]."""

    scale: Tensor

    def __init__(self, channels: Sequence[int], head: Sequence[int], dropout: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(1))
        self.convolutions = nn.ModuleList(nn.Conv2d(*pair, kernel_size=3, padding=1) for pair in pairwise(channels))
        self.head = Head(head, dropout)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits; softmax is left to the caller, because training needs them bare."""
        maps = images / self.scale
        if maps.dim() == 3:
            maps = maps.unsqueeze(1)
        for number, convolution in enumerate(self.convolutions):
            maps = torch.relu(convolution(maps))
            if number % 2 == 1:
                maps = functional.max_pool2d(maps, 2)
        logits: Tensor = self.head(maps.flatten(1))
        return logits


class Mlp(nn.Module):
    """Anything [n, …] → logits [n, classes]."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits."""
        logits: Tensor = self.head(inputs.flatten(1))
        return logits


class Block(nn.Module):
    """Two 3x3 convolutions, or a 1x1, a 3x3 and a 1x1, beside a way around them."""

    def __init__(self, before: int, inner: int, after: int, *, stride: int, deep: bool, around: bool) -> None:
        super().__init__()
        if deep:
            self.conv1 = nn.Conv2d(before, inner, 1, bias=False)
            self.conv2 = nn.Conv2d(inner, inner, 3, stride=stride, padding=1, bias=False)
            self.conv3 = nn.Conv2d(inner, after, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(after)
        else:
            self.conv1 = nn.Conv2d(before, inner, 3, stride=stride, padding=1, bias=False)
            self.conv2 = nn.Conv2d(inner, after, 3, padding=1, bias=False)
        self.deep = deep
        self.bn1 = nn.BatchNorm2d(inner)
        self.bn2 = nn.BatchNorm2d(inner if deep else after)
        self.downsample = (
            nn.Sequential(nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after))
            if around
            else None
        )

    def forward(self, maps: Tensor) -> Tensor:
        """[n, before, h, w] → [n, after, h / stride, w / stride]."""
        around = maps if self.downsample is None else self.downsample(maps)
        maps = torch.relu(self.bn1(self.conv1(maps)))
        maps = self.bn2(self.conv2(maps))
        if self.deep:
            maps = self.bn3(self.conv3(torch.relu(maps)))
        return torch.relu(maps + around)


class ResNet(nn.Module):
    """Pictures [n, channels, height, width], or [n, height, width] in grey, → logits [n, classes]."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        """Build it as the shapes of the weights say. Raises KeyError where one is missing."""
        super().__init__()
        width, channels, kernel, _ = weights["conv1.weight"].shape
        _require_shape(weights, "conv1", width, channels, kernel)
        self.large = kernel >= _LARGE_STEM
        self.conv1 = nn.Conv2d(channels, width, kernel, 2 if self.large else 1, kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.stages = sorted({int(match[1]) for match in map(_STAGE.fullmatch, weights) if match})
        for stage in self.stages:
            blocks = []
            count = sum(name.startswith(f"layer{stage}.") and _STAGE.fullmatch(name) is not None for name in weights)
            for number in range(count):
                name = f"layer{stage}.{number}"
                deep = f"{name}.conv3.weight" in weights
                inner, before = weights[f"{name}.conv1.weight"].shape[:2]
                after = weights[f"{name}.conv{3 if deep else 2}.weight"].shape[0]
                stride = 2 if stage > 1 and number == 0 else 1
                around = f"{name}.downsample.0.weight" in weights
                _require_shape(weights, f"{name}.conv1", inner, before, 1 if deep else 3)
                _require_shape(weights, f"{name}.conv2", inner if deep else after, inner, 3)
                if deep:
                    _require_shape(weights, f"{name}.conv3", after, inner, 1)
                if around:
                    _require_shape(weights, f"{name}.downsample.0", after, before, 1)
                blocks.append(Block(before, inner, after, stride=stride, deep=deep, around=around))
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        classes, features = weights["fc.weight"].shape
        self.fc = nn.Linear(features, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        if images.dim() == 3:
            images = images.unsqueeze(1)
        maps = torch.relu(self.bn1(self.conv1(images)))
        if self.large:
            maps = functional.max_pool2d(maps, 3, stride=2, padding=1)
        for stage in self.stages:
            maps = getattr(self, f"layer{stage}")(maps)
        logits: Tensor = self.fc(maps.mean(dim=(2, 3)))
        return logits


def load(architecture: str, folder: Path, *, shape: Sequence[int], outputs: int) -> nn.Module:
    """The network in a folder, for one input of `shape`; LoadError when it does not give `outputs` classes for such."""
    file = folder / NETWORK
    if not file.is_file():
        file = folder / WEIGHTS
    return build(architecture, read_weights(file), shape=shape, outputs=outputs, file=file.name)


def build(
    architecture: str, weights: Mapping[str, Tensor], *, shape: Sequence[int], outputs: int, file: str = NETWORK
) -> nn.Module:
    """The network of these tensors; LoadError when they do not map inputs of `shape` to `outputs` classes."""
    try:
        network = ARCHITECTURES[architecture](weights)
        network.eval().requires_grad_(requires_grad=False)
        with torch.inference_mode():
            result = network(torch.zeros(1, *shape))
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        raise LoadError(f"{file} is not a {architecture} for inputs of the shape {tuple(shape)}: {error}") from error
    if result.shape != (1, outputs):
        raise LoadError(f"{file} tells {result.shape[1]} classes apart, {outputs} were declared.")
    return network


def _small(weights: Mapping[str, Tensor]) -> nn.Module:
    network = SmallNetwork(*_widths(weights))
    network.load_state_dict(dict(weights))
    return network


def _mlp(weights: Mapping[str, Tensor]) -> nn.Module:
    return Mlp(load_head(dict(weights), outputs=_last_width(weights)))


def _resnet(weights: Mapping[str, Tensor]) -> nn.Module:
    # How many batches it was trained on changes nothing here, and many files leave it out.
    weights = {name: value for name, value in weights.items() if not name.endswith("num_batches_tracked")}
    network = ResNet(weights)
    counters = {name: value for name, value in network.state_dict().items() if name.endswith("num_batches_tracked")}
    network.load_state_dict(weights | counters)
    return network


ARCHITECTURES: Final[Mapping[str, Callable[[Mapping[str, Tensor]], nn.Module]]] = {
    "small-cnn": _small,
    "mlp": _mlp,
    "resnet": _resnet,
}


def _widths(weights: Mapping[str, Tensor]) -> tuple[list[int], list[int]]:
    """Channels of the convolutions and widths of the head, read off the shapes of the weights."""
    names = [name for name in weights if name.endswith(".weight")]
    convolutions = sum(name.startswith("convolutions.") for name in names)
    channels = [weights["convolutions.0.weight"].shape[1]]
    channels += [weights[f"convolutions.{number}.weight"].shape[0] for number in range(convolutions)]
    head = [weights["head.layers.0.weight"].shape[1]]
    head += [weights[f"head.layers.{number}.weight"].shape[0] for number in range(len(names) - convolutions)]
    for number, (before, after) in enumerate(pairwise(channels)):
        _require_shape(weights, f"convolutions.{number}", after, before, 3)
    for number, (before, after) in enumerate(pairwise(head)):
        if tuple(weights[f"head.layers.{number}.weight"].shape) != (after, before):
            raise ValueError(f"head.layers.{number} does not take what comes before it")
    return channels, head


def _require_shape(weights: Mapping[str, Tensor], name: str, after: int, before: int, kernel: int) -> None:
    """Raises ValueError, before a convolution is made: one of m by n fills the memory, where files of m by 1 and n by 1 are
    small.
    """
    found, wanted = tuple(weights[f"{name}.weight"].shape), (after, before, kernel, kernel)
    if found != wanted:
        raise ValueError(f"{name}.weight has the shape {found} instead of {wanted}")


def _last_width(weights: Mapping[str, Tensor]) -> int:
    count = sum(name.endswith(".weight") for name in weights)
    return weights[f"layers.{count - 1}.weight"].shape[0]
