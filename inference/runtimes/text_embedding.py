"""Texts to vectors (see `text_networks`)."""

from collections.abc import Sequence

from inference.runtimes.protocol import Array, Input, RuntimeSpec
from inference.runtimes.text_networks import TextRuntime, embedder

WARMUP_TEXTS = ("A first sentence.", "A second one, which is a little longer.")


class TextEmbedding(TextRuntime):
    """Runs an encoder; the options `pooling` (`mean` or `cls`) and `normalise` say what is read from it."""

    def load(self, spec: RuntimeSpec) -> None:
        """Read the encoder; LoadError when it is unreadable or its dimensions are not the declared ones."""
        self._network = embedder(spec)

    def warmup(self) -> None:
        """Encode one sentence, and two."""
        self.forward(WARMUP_TEXTS[:1])
        self.forward(WARMUP_TEXTS)

    def forward(self, inputs: Sequence[Input]) -> Array:
        """Return float32 [len(inputs), dimensions]; every row has length one unless `normalise` is false."""
        vectors: Array = self._network.run(inputs).cpu().numpy()
        return vectors
