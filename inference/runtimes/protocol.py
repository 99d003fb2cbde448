"""What a runtime is given, what it must do, and how it fails. Imports no torch, so that any process may use it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from inference.types import TextLength

Array = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]  # [height, width, channels], 0 to 255
Pair = tuple[str, str]
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Encoded:
    """The tokens of one text or pair, as many as are read. ``types`` says for each token of which of two texts it is; None:
    all are of the first."""

    ids: Ids
    types: Ids | None

    def __len__(self) -> int:
        return len(self.ids)

    def types_or_zeros(self) -> Ids:
        """The types, whichever way they are said."""
        return np.zeros_like(self.ids) if self.types is None else self.types


Input = str | Pair | Encoded | Array | Pixels
"""A text, two texts, the tokens of either, an array of the declared shape, or an image of the declared size."""


@dataclass(frozen=True, slots=True)
class Read:
    """An input that was read. ``value`` is what the model runs on; None where the text is too long and may not be cut.
    ``length`` is that of a text with more tokens than are read."""

    value: Input | None
    length: TextLength | None = None


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


@runtime_checkable
class ReadsTexts(Protocol):
    """A runtime whose inputs have tokens, of which it reads :attr:`max_tokens` at most."""

    @property
    def max_tokens(self) -> int:
        """Of one input, with the special tokens around it; of a pair, of both texts together."""

    def read(self, inputs: Sequence[Input], truncate: Sequence[int]) -> list[Read]:
        """The tokens of each text, which ``forward`` takes in place of it. ``truncate`` says of each whether it may be cut
        (see ``inference.inputs.truncation``). Raises ValueError for a text without any token."""


@runtime_checkable
class ComputesElsewhere(Protocol):
    """A runtime whose weights lie in another process; it knows what they take there."""

    @property
    def weights_bytes(self) -> int: ...
