"""Texts to vectors."""

from collections.abc import Sequence

from inference.runtimes.bert_encoder import load_text_encoder
from inference.runtimes.protocol import Array, Input, LoadError, RuntimeSpec

WARMUP_TEXTS = ("A first sentence.", "A second one, which is a little longer.")


class TextEmbedding:
    """Runs an encoder; the artefact holds `encoder.safetensors`, `encoder.json` and `tokenizer.json`."""

    def load(self, spec: RuntimeSpec) -> None:
        """Read the encoder; LoadError when it is unreadable or its dimensions are not the declared ones."""
        self._encoder = load_text_encoder(spec.artefact, spec.device)
        if self._encoder.dimensions != spec.outputs:
            raise LoadError(f"The encoder has {self._encoder.dimensions} dimensions, {spec.outputs} were declared.")

    def warmup(self) -> None:
        """Encode two sentences."""
        self.forward(WARMUP_TEXTS)

    def forward(self, inputs: Sequence[Input]) -> Array:
        """Return float32 [len(inputs), dimensions]; every row has length one."""
        vectors: Array = self._encoder.encode([str(text) for text in inputs]).cpu().numpy()
        return vectors
