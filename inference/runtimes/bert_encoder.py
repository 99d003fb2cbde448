"""An encoder of the BERT family in plain torch: post-layer-norm, absolute positions, attention over the whole text.

It computes what transformers computes for BERT, DistilBERT, RoBERTa and ELECTRA (and MiniLM, which is a BERT) without that
library, which would add 264 MB and 16 s of imports to every worker.
"""

import weakref
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from inference.runtimes import checkpoints, precision
from inference.runtimes.encoder_config import ACTIVATIONS, EncoderConfig
from inference.runtimes.packing import Packing, pack
from inference.runtimes.protocol import LoadError, RuntimeSpec
from inference.runtimes.tokens import Encoded
from inference.types import Precision


class Layer(nn.Module):
    """One transformer layer over packed tokens, [tokens, hidden] → [tokens, hidden]."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        hidden, inner = config.hidden_size, config.intermediate_size
        self.heads = config.num_attention_heads
        self.activation = ACTIVATIONS[config.activation]
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
        result: Tensor = self.output_norm(self.narrow(self.activation(self.widen(hidden))) + hidden)
        return result


class BertEncoder(nn.Module):
    """Tokens of texts → what the last layers say of each token."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.dimensions = config.hidden_size
        width = config.embedding_size
        self.words = nn.Embedding(config.vocab_size, width)
        self.positions = nn.Embedding(config.max_position_embeddings, width)
        self.segments = nn.Parameter(torch.empty(config.segments, width)) if config.segments else None
        self.norm = nn.LayerNorm(width, config.layer_norm_eps)
        self.project = nn.Linear(width, config.hidden_size) if width != config.hidden_size else None
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.words.weight.device

    def forward(self, ids: Tensor, places: Tensor, types: Tensor | None, packing: Packing, last: int) -> list[Tensor]:
        """Return [tokens, hidden] of each of the `last` layers, lowest first.

        `ids`, `places` (positions within a text, from 0) and `types` (which of two texts; None: all of the first) are
        [tokens], in the order that `packing` knows.
        """
        hidden = self.words(ids) + self.positions(places + self.config.first_position)
        if self.segments is not None:
            hidden = hidden + (self.segments[0] if types is None else self.segments[types])
        hidden = self.norm(hidden)
        if self.project is not None:
            hidden = self.project(hidden)
        kept = []
        for number, layer in enumerate(self.layers, start=1):
            hidden = layer(hidden, packing)
            if number > len(self.layers) - last:
                kept.append(hidden)
        return kept

    def packed(self, encoded: Sequence[Encoded]) -> tuple[Tensor, Tensor, Tensor | None, Packing, Tensor]:
        """The arguments of :meth:`forward` for these texts, sorted by length, and which text each of them is."""
        order = sorted(range(len(encoded)), key=lambda row: len(encoded[row].ids))
        lengths = [len(encoded[row].ids) for row in order]
        ids = torch.from_numpy(np.concatenate([encoded[row].ids for row in order]))
        places = torch.from_numpy(np.concatenate([np.arange(length) for length in lengths]))
        types = None
        if self.segments is not None and any(one.types is not None for one in encoded):
            types = torch.from_numpy(np.concatenate([encoded[row].types_or_zeros() for row in order])).to(self.device)
        return (
            ids.to(self.device),
            places.to(self.device),
            types,
            pack(lengths, self.device),
            torch.tensor(order, device=self.device),
        )


def build(config: EncoderConfig, checkpoint: Mapping[str, Tensor], spec: RuntimeSpec) -> BertEncoder:
    """The encoder with the weights of a checkpoint (plain names) in the precision of `spec`, on its device.

    Model versions that differ only in their head share one encoder in memory, wherever its files lie. Raises LoadError.
    """
    precision.check(spec)
    try:
        state = checkpoints.encoder_state(checkpoint, config)
        checkpoints.require_shapes(state, config)
    except (KeyError, RuntimeError) as error:
        raise LoadError(f"The file does not hold the weights that its config describes: {error}") from error
    # Not on the meta device: drawing weights just to replace them takes 0.2 s, but the first module there makes torch
    # import 800 modules of its own, which takes 1.8 s and 55 MB.
    encoder = BertEncoder(config)
    try:
        encoder.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise LoadError(f"The file does not hold the weights that its config describes: {error}") from error
    encoder.eval().requires_grad_(requires_grad=False)
    if spec.precision == Precision.INT8:
        precision.quantise(encoder.layers)
        return encoder
    return _shared(encoder.to(device=spec.device, dtype=precision.dtype_of(spec)))


_loaded: "weakref.WeakSet[BertEncoder]" = weakref.WeakSet()


def _shared(encoder: BertEncoder) -> BertEncoder:
    """Return an encoder in memory that is equal to `encoder` to the last bit, or `encoder` itself."""
    state = encoder.state_dict()
    for other in _loaded:
        theirs = other.state_dict()
        if (
            other.config == encoder.config
            and other.device == encoder.device
            and theirs.keys() == state.keys()
            and all(theirs[name].dtype == state[name].dtype for name in state)
            and all(torch.equal(theirs[name], state[name]) for name in state)
        ):
            return other
    _loaded.add(encoder)
    return encoder
