"""Tensors to themselves: a model that costs nothing, for measuring everything around it."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from inference.runtimes.options import Options
from inference.runtimes.protocol import Array, Input, LoadError, RuntimeSpec


class TensorEcho:
    """Answers with the numbers of its input in row-major order. It needs no files and no torch."""

    def load(self, spec: RuntimeSpec) -> None:
        """LoadError when it shall answer with another number of numbers than it takes."""
        Options(spec.options).done()
        size = prod(spec.input_schema["shape"])
        if size != spec.outputs:
            raise LoadError(f"An echo of {size:,} numbers has as many outputs; {spec.outputs:,} were declared.")
        self._shape = tuple(spec.input_schema["shape"])

    def warmup(self) -> None:
        """Echo zeros."""
        self.forward([np.zeros(self._shape, dtype=np.float32)])

    def forward(self, inputs: Sequence[Input]) -> Array:
        """Return float32 [len(inputs), numbers of an input]."""
        arrays: Sequence[Any] = inputs
        rows: Array = np.stack(arrays).reshape(len(inputs), -1).astype(np.float32, copy=False)
        return rows
