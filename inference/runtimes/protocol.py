"""What a runtime is given, what it must do, and how it fails. Imports no torch, so that any process may use it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]  # [height, width, channels], 0 to 255
Pair = tuple[str, str]
Input = (
    str | Pair | Array | Pixels
)  # a text, two texts, an array of the declared shape, or an image of the declared size


class RuntimeFault(Exception):
    """A model version cannot be loaded or does not do what it declares."""


class LoadError(RuntimeFault):
    """The artefact is the registered one, but it does not make the model that its version declares."""


class ContractError(RuntimeFault):
    """An input or a result breaks the declared contract; nothing of such a batch may reach a customer."""


@dataclass(frozen=True, slots=True)
class RuntimeSpec:
    """Everything a runtime needs to know of one model version; the worker makes it from the registry's row."""

    name: str
    version: str
    runtime: str  # a key of `loading.RUNTIMES`
    artefact: Path
    digest: str
    outputs: int  # columns of the result: labels, dimensions of the embedding, or candidates
    input_schema: Mapping[str, Any]
    max_batch_size: int
    device: str  # "cpu" or "cuda:0"
    precision: str = "float32"  # a value of `inference.models.Precision`
    acceleration: str = "none"  # a value of `inference.models.Acceleration`
    private: bool = False  # whether a tenant owns the model; metrics do not name it then
    options: Mapping[str, Any] = field(default_factory=dict)  # the `[runtime]` table of the card


class Runtime(Protocol):
    """One way of running a model. An instance belongs to one model version and to one thread."""

    def load(self, spec: RuntimeSpec) -> None:
        """Read the weights in `spec.artefact`, whose digest was verified just before; LoadError when they do not fit."""

    def warmup(self) -> None:
        """Run once on typical input, so that the first customer does not pay for lazy initialisation."""

    def forward(self, inputs: Sequence[Input]) -> Array:
        """Return float32 [len(inputs), spec.outputs]; row i belongs to input i, whatever else is in the batch.

        Classification returns probabilities that sum to one, embedding vectors of length one (unless the option
        `normalise` is false), scoring a score from 0 to 1 for each candidate of an input.
        """
