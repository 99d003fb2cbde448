"""Candidates to scores: how well each fits what was liked, by attention over the liked rows.

An input is one array [liked + candidates, dimensions] of embeddings. As many rows as there are outputs are candidates, the
rows before them are what was liked; a row shorter than :data:`SHORTEST` says that there is nothing. For each candidate the
cosines with the liked rows are averaged with weights softmax(temperature * cosine), so that a candidate need not lie close
to all that was liked, and the score is sigmoid(scale * (average - offset)).

The file `scoring.safetensors` holds `temperature`, `scale` and `offset`, each [1].
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from inference.runtimes.grids import stack
from inference.runtimes.heads import read_weights
from inference.runtimes.options import Options
from inference.runtimes.protocol import Array, Input, LoadError, RuntimeSpec
from inference.types import Acceleration, Precision

SCORING = "scoring.safetensors"
SHORTEST: Final = 1e-6
"""Embeddings have length one; what is shorter than this is padding, and safe to divide by nothing."""


class AttentionScoring(nn.Module):
    """Liked [n, l, d] and candidates [n, c, d] → logits [n, c]; minus infinity where there is nothing to compare."""

    def __init__(self, temperature: float = 8.0, scale: float = 8.0, offset: float = 0.3) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.tensor([temperature]))
        self.scale = nn.Parameter(torch.tensor([scale]))
        self.offset = nn.Parameter(torch.tensor([offset]))

    def forward(self, liked: Tensor, candidates: Tensor) -> Tensor:
        """Return logits; the sigmoid is left to the caller, because training needs them bare."""
        there, present = _present(liked), _present(candidates)
        cosines = functional.normalize(candidates, dim=2) @ functional.normalize(liked, dim=2).transpose(1, 2)
        attention = (self.temperature * cosines).masked_fill(~there[:, None, :], float("-inf")).softmax(dim=2)
        # Where nothing was liked every weight is a division of zero by zero, and the logit is masked below.
        average = (attention.nan_to_num() * cosines).sum(dim=2)
        logits: Tensor = self.scale * (average - self.offset)
        return logits.masked_fill(~(present & there.any(dim=1, keepdim=True)), float("-inf"))


def load_scoring(weights: Mapping[str, Tensor]) -> AttentionScoring:
    """Build the network from its tensors; LoadError when they are not its three finite numbers."""
    scoring = AttentionScoring()
    try:
        scoring.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise LoadError(f"{SCORING} does not hold temperature, scale and offset: {error}") from error
    if not all(bool(value.isfinite()) for value in scoring.parameters()):
        raise LoadError(f"{SCORING} holds numbers that are not finite.")
    return scoring.eval().requires_grad_(requires_grad=False)


class TensorScoring:
    """Runs attention scoring on arrays of one declared shape [liked + outputs, dimensions]."""

    def load(self, spec: RuntimeSpec) -> None:
        """Read the numbers; LoadError when they are unreadable, or the shape leaves no row for what was liked."""
        Options(spec.options).done()
        if (spec.precision, spec.acceleration) != (Precision.FLOAT32, Acceleration.NONE):
            raise LoadError("Scoring of candidates computes in float32 and cannot be accelerated: it is no work.")
        shape = spec.input_schema["shape"]
        if len(shape) != 2 or shape[0] <= spec.outputs:
            raise LoadError(f"The shape {list(shape)} has no rows beside those of {spec.outputs} candidates.")
        self._shape = tuple(shape)
        self._liked = shape[0] - spec.outputs
        self._device = spec.device
        self._scoring = load_scoring(read_weights(spec.artefact / SCORING)).to(spec.device)

    def warmup(self) -> None:
        """Score ones and nothing."""
        self.forward([np.ones(self._shape, dtype=np.float32), np.zeros(self._shape, dtype=np.float32)])

    def forward(self, inputs: Sequence[Input]) -> Array:
        """Return float32 [len(inputs), candidates], each 0 to 1; 0 for a candidate that is padding, and for all where
        nothing was liked.
        """
        rows = stack(inputs).to(self._device)
        with torch.inference_mode():
            logits = self._scoring(rows[:, : self._liked], rows[:, self._liked :])
            scores: Array = torch.sigmoid(logits).cpu().numpy()
        return scores


def _present(rows: Tensor) -> Tensor:
    present: Tensor = torch.linalg.vector_norm(rows, dim=2) > SHORTEST
    return present
