"""Training of small classifiers on a processor, repeatable with the same seed and number of threads."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from inference.runtimes.heads import Head
from inference.runtimes.protocol import Array
from inference.runtimes.scoring import AttentionScoring
from inference.runtimes.tensor_classification import SmallNetwork

Labels = npt.NDArray[np.int64]
Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Examples:
    """Inputs float32 [n, …] and their classes int64 [n]."""

    inputs: Array
    labels: Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to train: AdamW with a cosine schedule; the epoch with the lowest loss on the validation examples is kept."""

    epochs: int
    learning_rate: float
    weight_decay: float
    dropout: float = 0.0
    batch_size: int = 128
    seed: int = 0


def train_head(train: Examples, validation: Examples, *, hidden: tuple[int, ...], classes: int, recipe: Recipe) -> Head:
    """Train a head with hidden layers of the widths `hidden` (none makes it linear) on features."""
    widths = [train.inputs.shape[1], *hidden, classes]
    return _train(lambda: Head(widths, recipe.dropout), train, validation, recipe)


def train_network(
    train: Examples,
    validation: Examples,
    *,
    channels: tuple[int, ...],
    hidden: tuple[int, ...],
    classes: int,
    scale: float,
    recipe: Recipe,
) -> SmallNetwork:
    """Train a small convolutional network on images [n, height, width] whose values are divided by `scale`."""
    height, width = train.inputs.shape[1:]
    poolings = len(channels) // 2
    flat = channels[-1] * (height >> poolings) * (width >> poolings)

    def build() -> SmallNetwork:
        network = SmallNetwork([1, *channels], [flat, *hidden, classes], recipe.dropout)
        network.scale.fill_(scale)
        return network

    return _train(build, train, validation, recipe)


def fit_scoring(
    liked: Array, candidates: Array, fitting: npt.NDArray[np.bool_], *, steps: int = 200
) -> AttentionScoring:
    """Fit the three numbers of attention scoring: the score of a candidate is the probability that it is fitting, if it
    is as likely as not at first.

    `liked` is [n, l, d], `candidates` [n, c, d], `fitting` [n, c]. No candidate is padding.
    """
    scoring = AttentionScoring()
    likes, others, labels = torch.from_numpy(liked), torch.from_numpy(candidates), torch.from_numpy(fitting).float()
    weight = (1 - labels).sum() / labels.sum()  # fitting candidates are few, and count as much as all others
    optimiser = torch.optim.Adam(scoring.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        optimiser.zero_grad()
        logits = scoring(likes, others)
        torch.autograd.backward(functional.binary_cross_entropy_with_logits(logits, labels, pos_weight=weight))
        optimiser.step()
        schedule.step()
    return scoring.eval().requires_grad_(requires_grad=False)


def scores(scoring: AttentionScoring, liked: Array, candidates: Array) -> Array:
    """How well each reader's candidates fit what was liked, float32 [n, candidates]."""
    with torch.inference_mode():
        logits = scoring(torch.from_numpy(liked), torch.from_numpy(candidates))
        found: Array = torch.sigmoid(logits).numpy()
    return found


def predict(model: nn.Module, inputs: Array) -> Labels:
    """Return the most probable class of each input, int64 [n]."""
    model.eval()
    with torch.inference_mode():
        classes: Labels = model(torch.from_numpy(inputs)).argmax(dim=1).numpy()
    return classes


def save(model: nn.Module, file: Path) -> None:
    """Write the weights of `model` as safetensors."""
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, file)
    file.chmod(0o644)  # safetensors makes files private; committed weights are read by the product's user


def _train(build: Callable[[], Model], train: Examples, validation: Examples, recipe: Recipe) -> Model:
    torch.manual_seed(recipe.seed)
    model = build()
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.epochs)
    inputs, labels = torch.from_numpy(train.inputs), torch.from_numpy(train.labels)
    best_loss, best_state = float("inf"), model.state_dict()
    for _ in range(recipe.epochs):
        model.train()
        for rows in torch.split(torch.randperm(len(labels)), recipe.batch_size):
            optimiser.zero_grad()
            torch.autograd.backward(functional.cross_entropy(model(inputs[rows]), labels[rows]))
            optimiser.step()
        schedule.step()
        loss = _loss(model, validation)
        if loss < best_loss:
            best_loss, best_state = loss, {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(best_state)
    return model.eval()


def _loss(model: nn.Module, examples: Examples) -> float:
    model.eval()
    with torch.inference_mode():
        logits: Tensor = model(torch.from_numpy(examples.inputs))
        return float(functional.cross_entropy(logits, torch.from_numpy(examples.labels)))
