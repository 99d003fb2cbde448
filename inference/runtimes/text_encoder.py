"""A folder with an encoder of the BERT family, its tokenizer and its config, loaded: texts → vectors.

Two layouts are read: that of Hugging Face (`model.safetensors`, `config.json`, `tokenizer.json`), and that of the demo models
(`encoder.safetensors`, `encoder.json`, `tokenizer.json`), where a head lies beside the encoder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from inference.runtimes import bert_encoder, checkpoints
from inference.runtimes.bert_encoder import BertEncoder
from inference.runtimes.encoder_config import EncoderConfig
from inference.runtimes.packing import Packing
from inference.runtimes.protocol import LoadError, RuntimeSpec
from inference.runtimes.tokens import Encoded, TextReader

MAX_TOKENS: Final = 512
"""How much of a text is read unless the option `max_tokens` says another number, or the model has positions for less."""

_DEMO_MAX_TOKENS: Final = 256  # what MiniLM was trained with; longer texts are cut there, as sentence-transformers does
_DEMO_WEIGHTS, _DEMO_CONFIG = "encoder.safetensors", "encoder.json"
WEIGHTS, CONFIG = "model.safetensors", "config.json"


@dataclass(frozen=True, slots=True)
class Pooling:
    """From what layers say of each token to one vector of each text: float32 [texts, layers * dimensions].

    `first` takes what is said of the first token instead of the average over all. `normalise` brings the vector of each layer
    to length one.
    """

    first: bool = False
    normalise: bool = True

    def __call__(self, layers: Sequence[Tensor], packing: Packing) -> Tensor:
        vectors = torch.stack(
            [packing.first(one) if self.first else packing.mean(one) for one in layers], dim=1
        ).float()
        return (functional.normalize(vectors, dim=2) if self.normalise else vectors).flatten(1)


@dataclass(frozen=True)
class TextEncoder:
    """A tokenizer and its encoder on one device."""

    reader: TextReader
    encoder: BertEncoder

    @property
    def dimensions(self) -> int:
        """Length of an embedding."""
        return self.encoder.dimensions

    @property
    def depth(self) -> int:
        """How many layers can be asked for."""
        return len(self.encoder.layers)

    def encode(self, texts: Sequence[str], *, last: int = 1) -> Tensor:
        """Return float32 [len(texts), last * dimensions] on the device; row i belongs to text i.

        Each row holds one vector of length one for each of the `last` layers, the text's embedding at its end. Lower
        layers know more about wording and tone, which a classifier can use and an embedding should not have.
        """
        if not texts:
            return torch.empty(0, last * self.dimensions, device=self.encoder.device)
        return self.pooled(self.reader.encoded(texts), Pooling(), last=last)

    def pooled(self, encoded: Sequence[Encoded], pooling: Pooling, *, last: int = 1) -> Tensor:
        """Return float32 [len(encoded), last * dimensions]; row i belongs to input i."""
        with torch.inference_mode():
            ids, places, types, packing, order = self.encoder.packed(encoded)
            vectors = pooling(self.encoder(ids, places, types, packing, last), packing)
            restored = torch.empty_like(vectors)
            restored[order] = vectors
        return restored


def load_text_encoder(directory: Path, device: str) -> TextEncoder:
    """Load the encoder in a folder in float32; LoadError when its files are missing or do not fit each other."""
    spec = RuntimeSpec("", "", "", directory, "", 0, {}, 1, device)
    return load(spec, max_tokens=None)[0]


def load(spec: RuntimeSpec, *, max_tokens: int | None) -> tuple[TextEncoder, Mapping[str, Tensor]]:
    """The encoder as `spec` has it, and the tensors of its file under plain names, for a head that lies among them.

    The tensors are views of the file: who keeps one copies it. Raises LoadError.
    """
    demo = (spec.artefact / _DEMO_WEIGHTS).is_file()
    config = EncoderConfig.read(spec.artefact / (_DEMO_CONFIG if demo else CONFIG))
    longest = min(config.longest, max_tokens or (_DEMO_MAX_TOKENS if demo else MAX_TOKENS))
    reader = TextReader(spec.artefact, max_tokens=longest)
    if reader.vocabulary > config.vocab_size:
        raise LoadError(f"The tokenizer knows {reader.vocabulary:,} tokens, the encoder {config.vocab_size:,}.")
    checkpoint = checkpoints.plain_names(
        read_checkpoint(spec.artefact / (_DEMO_WEIGHTS if demo else WEIGHTS)), config.family
    )
    return TextEncoder(reader, bert_encoder.build(config, checkpoint, spec)), checkpoint


def read_checkpoint(file: Path) -> dict[str, Any]:
    """The tensors in a safetensors file, which stays mapped into memory while they live. Raises LoadError."""
    if not file.is_file() and file.with_name(f"{file.name}.index.json").is_file():
        raise LoadError(f"The weights lie in several files; put them into one, {file.name}.")
    try:
        return load_file(file)
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise LoadError(f"{file.name} cannot be read: {error}") from error
