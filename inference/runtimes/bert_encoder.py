"""A BERT encoder for sentence embeddings in plain torch: post-layer-norm, GELU, mean pooling, vectors of length one.

It reads the checkpoints of sentence-transformers' MiniLM family without that library or transformers, which would add
264 MB and 16 s of imports to every worker.
"""

import json
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from inference.runtimes.packing import Packing, pack
from inference.runtimes.protocol import LoadError

MAX_TOKENS = 256  # what MiniLM was trained with; longer texts are cut there, as sentence-transformers does

WEIGHTS, CONFIG, TOKENIZER = "encoder.safetensors", "encoder.json", "tokenizer.json"
FILES = (WEIGHTS, CONFIG, TOKENIZER)


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """The part of a BERT `config.json` that decides what is computed."""

    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    num_hidden_layers: int
    vocab_size: int
    max_position_embeddings: int
    layer_norm_eps: float

    @classmethod
    def read(cls, file: Path) -> "EncoderConfig":
        """Read `file`; LoadError when it describes another architecture than this module computes."""
        values: dict[str, Any] = json.loads(file.read_bytes())
        fixed = (
            values.get("model_type"),
            values.get("hidden_act"),
            values.get("position_embedding_type", "absolute"),
        )
        if fixed != ("bert", "gelu", "absolute"):
            raise LoadError(f"{file.name} describes {fixed}, not a BERT with GELU and absolute positions.")
        try:
            return cls(**{name: values[name] for name in cls.__slots__})
        except KeyError as error:
            raise LoadError(f"{file.name} does not say {error}.") from error


class Layer(nn.Module):
    """One transformer layer over packed tokens, [tokens, hidden] → [tokens, hidden]."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        hidden, inner = config.hidden_size, config.intermediate_size
        self.heads = config.num_attention_heads
        self.projection = nn.Linear(hidden, 3 * hidden)  # query, key and value in one product
        self.attention_output = nn.Linear(hidden, hidden)
        self.attention_norm = nn.LayerNorm(hidden, config.layer_norm_eps)
        self.widen = nn.Linear(hidden, inner)
        self.narrow = nn.Linear(inner, hidden)
        self.output_norm = nn.LayerNorm(hidden, config.layer_norm_eps)

    def forward(self, hidden: Tensor, packing: Packing) -> Tensor:
        """Attention and the two-layer network, each added to what came in and normalised after."""
        attended = packing.attend(self.projection(hidden), self.heads)
        hidden = self.attention_norm(self.attention_output(attended) + hidden)
        result: Tensor = self.output_norm(self.narrow(functional.gelu(self.widen(hidden))) + hidden)
        return result


class BertEncoder(nn.Module):
    """Token ids of texts → one vector of length one for each text and layer asked for."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.dimensions = config.hidden_size
        self.words = nn.Embedding(config.vocab_size, config.hidden_size)
        self.positions = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.segment = nn.Parameter(torch.empty(config.hidden_size))  # all tokens are of the first segment
        self.norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))

    def forward(self, texts: Sequence[Sequence[int]], last: int) -> Tensor:
        """Return float32 [len(texts), last, dimensions] for non-empty lists of token ids, in their order.

        `last` is how many of the last layers are wanted, at least one; [:, -1] is the embedding of the text.
        """
        device = self.segment.device
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        lengths = [len(texts[row]) for row in order]
        packing = pack(lengths, device)
        ids = torch.tensor([token for row in order for token in texts[row]], device=device)
        places = torch.cat([torch.arange(length) for length in lengths]).to(device)
        hidden = self.norm(self.words(ids) + self.positions(places) + self.segment)
        means = []
        for number, layer in enumerate(self.layers, start=1):
            hidden = layer(hidden, packing)
            if number > len(self.layers) - last:
                means.append(packing.mean(hidden))
        vectors = functional.normalize(torch.stack(means, dim=1), dim=2)
        restored = torch.empty_like(vectors)
        restored[torch.tensor(order, device=device)] = vectors
        return restored


class TextEncoder:
    """A tokenizer and its encoder on one device: texts → vectors."""

    def __init__(self, tokenizer: Tokenizer, encoder: BertEncoder, device: str) -> None:
        self.encoder, self.device = encoder, device
        self._tokenizer = tokenizer

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
            return torch.empty(0, last * self.dimensions, device=self.device)
        encodings = self._tokenizer.encode_batch_fast(list(texts))
        with torch.inference_mode():
            vectors: Tensor = self.encoder([encoding.ids for encoding in encodings], last)
        return vectors.flatten(1)


def load_text_encoder(directory: Path, device: str) -> TextEncoder:
    """Load the encoder in an artefact directory; LoadError when its files are missing or do not fit each other.

    Model versions that differ only in their head share one encoder in memory, wherever its files lie.
    """
    try:
        config = EncoderConfig.read(directory / CONFIG)
        tokenizer = Tokenizer.from_str((directory / TOKENIZER).read_text(encoding="utf-8"))
        checkpoint = load_file(directory / WEIGHTS)
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise LoadError(f"The encoder cannot be read: {error}") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(min(MAX_TOKENS, config.max_position_embeddings))
    # Not on the meta device: drawing weights just to replace them takes 0.2 s, but the first module there makes torch
    # import 800 modules of its own, which takes 1.8 s and 55 MB.
    encoder = BertEncoder(config)
    try:
        encoder.load_state_dict(_rename(checkpoint, config), assign=True)
    except (KeyError, RuntimeError) as error:
        raise LoadError(f"{WEIGHTS} does not hold the weights that {CONFIG} describes: {error}") from error
    encoder = encoder.to(device).eval().requires_grad_(requires_grad=False)
    return TextEncoder(tokenizer, _shared(encoder), device)


_loaded: "weakref.WeakSet[BertEncoder]" = weakref.WeakSet()


def _shared(encoder: BertEncoder) -> BertEncoder:
    """Return an encoder in memory that is equal to `encoder` to the last bit, or `encoder` itself."""
    state = encoder.state_dict()
    for other in _loaded:
        theirs = other.state_dict()
        if (
            other.segment.device == encoder.segment.device
            and theirs.keys() == state.keys()
            and all(torch.equal(theirs[name], state[name]) for name in state)
        ):
            return other
    _loaded.add(encoder)
    return encoder


def _rename(checkpoint: dict[str, Tensor], config: EncoderConfig) -> dict[str, Tensor]:
    """Map the names of a BERT checkpoint to ours, as float32 copies.

    Copies, because safetensors maps the file into memory: what was verified must not change with the file later.
    """
    names = {
        "words.weight": "embeddings.word_embeddings.weight",
        "positions.weight": "embeddings.position_embeddings.weight",
        **_pair("norm", "embeddings.LayerNorm"),
    }
    state: dict[str, Tensor] = {"segment": checkpoint["embeddings.token_type_embeddings.weight"][0].float().clone()}
    for number in range(config.num_hidden_layers):
        ours, theirs = f"layers.{number}", f"encoder.layer.{number}"
        names |= _pair(f"{ours}.attention_output", f"{theirs}.attention.output.dense")
        names |= _pair(f"{ours}.attention_norm", f"{theirs}.attention.output.LayerNorm")
        names |= _pair(f"{ours}.widen", f"{theirs}.intermediate.dense")
        names |= _pair(f"{ours}.narrow", f"{theirs}.output.dense")
        names |= _pair(f"{ours}.output_norm", f"{theirs}.output.LayerNorm")
        for kind in ("weight", "bias"):
            parts = [checkpoint[f"{theirs}.attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
            state[f"{ours}.projection.{kind}"] = torch.cat(parts).float()
    return state | {ours: checkpoint[theirs].float().clone() for ours, theirs in names.items()}


def _pair(ours: str, theirs: str) -> dict[str, str]:
    return {f"{ours}.{kind}": f"{theirs}.{kind}" for kind in ("weight", "bias")}
