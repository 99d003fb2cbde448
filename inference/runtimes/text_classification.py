"""Texts to the probabilities of classes: an encoder and a trained head."""

from collections.abc import Sequence

import torch

from inference.runtimes.bert_encoder import load_text_encoder
from inference.runtimes.heads import HEAD, load_head, read_weights
from inference.runtimes.protocol import Array, Input, LoadError, RuntimeSpec
from inference.runtimes.text_embedding import WARMUP_TEXTS


class TextClassification:
    """Runs an encoder and a head; the artefact holds the files of both (see `bert_encoder` and `heads`).

    A head with k times as many inputs as the encoder has dimensions reads the last k layers.
    """

    def load(self, spec: RuntimeSpec) -> None:
        """Read encoder and head; LoadError when they are unreadable or fit neither each other nor the declaration."""
        self._encoder = load_text_encoder(spec.artefact, spec.device)
        head = load_head(read_weights(spec.artefact / HEAD), outputs=spec.outputs)
        self._last, rest = divmod(head.inputs, self._encoder.dimensions)
        if rest or not 1 <= self._last <= self._encoder.depth:
            raise LoadError(f"The head wants {head.inputs} features, no number of layers of the encoder has so many.")
        self._head = head.to(spec.device)

    def warmup(self) -> None:
        """Classify two sentences."""
        self.forward(WARMUP_TEXTS)

    def forward(self, inputs: Sequence[Input]) -> Array:
        """Return float32 [len(inputs), classes]; every row sums to one."""
        vectors = self._encoder.encode([str(text) for text in inputs], last=self._last)
        with torch.inference_mode():
            probabilities: Array = torch.softmax(self._head(vectors), dim=1).cpu().numpy()
        return probabilities
