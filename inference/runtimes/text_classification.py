"""Texts to the probabilities of classes: an encoder and a trained head (see `text_networks`)."""

from collections.abc import Sequence

import torch

from inference.runtimes.protocol import Array, Input, RuntimeSpec
from inference.runtimes.text_embedding import WARMUP_TEXTS
from inference.runtimes.text_networks import TextRuntime, classifier


class TextClassification(TextRuntime):
    """Runs an encoder and a head on texts.

    The artefact is a Hugging Face folder with the head that its architecture has, or an encoder with a `head.safetensors`
    (see `heads`); a head with k times as many inputs as the encoder has dimensions reads the last k layers.
    """

    def load(self, spec: RuntimeSpec) -> None:
        """Read encoder and head; LoadError when they are unreadable or fit neither each other nor the declaration."""
        self._network = classifier(spec)

    def warmup(self) -> None:
        """Classify one sentence, and two."""
        self.forward(WARMUP_TEXTS[:1])
        self.forward(WARMUP_TEXTS)

    def forward(self, inputs: Sequence[Input]) -> Array:
        """Return float32 [len(inputs), classes]; every row sums to one."""
        with torch.inference_mode():
            probabilities: Array = torch.softmax(self._network.run(inputs), dim=1).cpu().numpy()
        return probabilities
