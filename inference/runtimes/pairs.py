"""Two texts that a model reads together: which class the pair has, or how well the second fits the first."""

from collections.abc import Sequence
from typing import Final

import torch

from inference.runtimes.protocol import Array, Input, LoadError, Pair, RuntimeSpec
from inference.runtimes.text_networks import TextRuntime, classifier

_WARMUP: Final[tuple[Pair, ...]] = (
    ("A question?", "An answer."),
    ("Which lamp is blue?", "The blue lamp is the one on the left."),
)


class PairClassification(TextRuntime):
    """Runs a Hugging Face classifier on pairs, such as premise and hypothesis."""

    def load(self, spec: RuntimeSpec) -> None:
        """Read encoder and head; LoadError when they are unreadable or fit neither each other nor the declaration."""
        self._network = classifier(spec)

    def warmup(self) -> None:
        """Classify one pair, and two."""
        self.forward(_WARMUP[:1])
        self.forward(_WARMUP)

    def forward(self, inputs: Sequence[Input]) -> Array:
        """Return float32 [len(inputs), classes]; every row sums to one."""
        with torch.inference_mode():
            probabilities: Array = torch.softmax(self._network.run(inputs), dim=1).cpu().numpy()
        return probabilities


class PairScoring(TextRuntime):
    """Runs a cross-encoder: a classifier with one output, whose sigmoid is the score."""

    def load(self, spec: RuntimeSpec) -> None:
        """Read encoder and head; LoadError when they are unreadable, or the head has more than one output."""
        if spec.outputs != 1:
            raise LoadError(f"A pair gets one score; {spec.outputs} were declared.")
        self._network = classifier(spec)

    def warmup(self) -> None:
        """Score one pair, and two."""
        self.forward(_WARMUP[:1])
        self.forward(_WARMUP)

    def forward(self, inputs: Sequence[Input]) -> Array:
        """Return float32 [len(inputs), 1], each 0 to 1."""
        with torch.inference_mode():
            scores: Array = torch.sigmoid(self._network.run(inputs)).cpu().numpy()
        return scores
