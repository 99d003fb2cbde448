"""Texts or pairs of texts to rows of numbers: an encoder, what is read from it, a head, and how fast it shall go.

Options (`[options]` of the card): `architecture`, empty for the family that `config.json` names or `transformers` (see
`huggingface`); `max_tokens`, how much of an input is read; for embeddings also `pooling` and `normalise`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from inference.runtimes import acceleration, huggingface, text_encoder
from inference.runtimes.acceleration import Network
from inference.runtimes.checkpoints import linear_state
from inference.runtimes.encoder_config import ACTIVATIONS, EncoderConfig
from inference.runtimes.heads import HEAD, load_head, read_weights
from inference.runtimes.options import Options
from inference.runtimes.packing import Dense
from inference.runtimes.protocol import Encoded, Input, LoadError, Read, RuntimeSpec
from inference.runtimes.text_encoder import Pooling, TextEncoder
from inference.runtimes.tokens import TextReader
from inference.types import Acceleration

_MOST_TOKENS: Final = 8192
_LENGTHS: Final = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096, 8192)
"""For CUDA graphs, of which each length needs its own."""

# What stands between the first token and the logits: the dense layer, its activation, the last layer.
_HEADS: Final[Mapping[str, tuple[str, Callable[[Tensor], Tensor], str]]] = {
    "bert": ("pooler.dense", torch.tanh, "classifier"),
    "distilbert": ("pre_classifier", torch.relu, "classifier"),
    "roberta": ("classifier.dense", torch.tanh, "classifier.out_proj"),
    "electra": ("classifier.dense", ACTIVATIONS["gelu"], "classifier.out_proj"),
}


class TextNetwork(Protocol):
    """A loaded network; row i of what it returns belongs to input i, a text or its tokens."""

    @property
    def reader(self) -> TextReader:
        """What makes tokens of texts."""

    def run(self, inputs: Sequence[Input]) -> Tensor:
        """Return float32 [len(inputs), columns] on the device."""


class TextRuntime:
    """What the runtimes of texts have in common, whatever they make of the network's rows."""

    _network: TextNetwork

    @property
    def max_tokens(self) -> int:
        """See :class:`~inference.runtimes.protocol.ReadsTexts`."""
        return self._network.reader.max_tokens

    def read(self, inputs: Sequence[Input], truncate: Sequence[int]) -> list[Read]:
        """See :class:`~inference.runtimes.protocol.ReadsTexts`."""
        return self._network.reader.read(inputs, truncate)


class FirstTokenHead(nn.Module):
    """The classification head of Hugging Face's models: float32 [n, dimensions] → logits [n, outputs]."""

    def __init__(self, activation: Callable[[Tensor], Tensor], dimensions: int, inner: int, outputs: int) -> None:
        super().__init__()
        self.activation = activation
        self.dense = nn.Linear(dimensions, inner)
        self.last = nn.Linear(inner, outputs)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return logits."""
        logits: Tensor = self.last(self.activation(self.dense(vectors)))
        return logits


def embedder(spec: RuntimeSpec) -> TextNetwork:
    """Text → its embedding [dimensions]. Raises LoadError."""
    options = Options(spec.options)
    architecture, max_tokens = _common(options)
    pooling = Pooling(
        first=options.choice("pooling", ("mean", "cls"), default="mean") == "cls",
        normalise=options.truth("normalise", default=True),
    )
    options.done()
    if architecture:
        model = huggingface.load_texts(spec, headed=False)
        reader = TextReader(spec.artefact, max_tokens=min(model.longest, max_tokens or text_encoder.MAX_TOKENS))

        def pooled(ids: Tensor, types: Tensor, lengths: Tensor) -> Tensor:
            hidden = model.run(ids, types, lengths)
            return pooling([hidden.flatten(0, 1)], Dense(lengths, *ids.shape))

        _require(model.dimensions, spec, "dimensions")
        return Rectangles(reader, pooled, spec, holds=model, pad=model.pad)
    encoder, _ = text_encoder.load(spec, max_tokens=max_tokens)
    _require(encoder.dimensions, spec, "dimensions")
    return _network(encoder, pooling, nn.Identity(), spec, last=1)


def classifier(spec: RuntimeSpec) -> TextNetwork:
    """Text or pair → logits [outputs]. Raises LoadError."""
    options = Options(spec.options)
    architecture, max_tokens = _common(options)
    options.done()
    if architecture:
        model = huggingface.load_texts(spec, headed=True)
        reader = TextReader(spec.artefact, max_tokens=min(model.longest, max_tokens or text_encoder.MAX_TOKENS))
        return Rectangles(reader, model.run, spec, holds=model, pad=model.pad)
    encoder, checkpoint = text_encoder.load(spec, max_tokens=max_tokens)
    if (spec.artefact / HEAD).is_file():
        head = load_head(read_weights(spec.artefact / HEAD), outputs=spec.outputs)
        last, rest = divmod(head.inputs, encoder.dimensions)
        if rest or not 1 <= last <= encoder.depth:
            raise LoadError(f"The head wants {head.inputs} features, no number of layers of the encoder has so many.")
        return _network(encoder, Pooling(), head, spec, last=last)
    return _network(
        encoder,
        Pooling(first=True, normalise=False),
        _head(checkpoint, encoder.encoder.config, spec),
        spec,
        last=1,
    )


class Packed:
    """Runs a batch without computing on padding: `packing` says how."""

    def __init__(self, encoder: TextEncoder, pooling: Pooling, head: nn.Module, *, last: int) -> None:
        self._encoder, self._pooling, self._head, self._last = encoder, pooling, head, last
        self.reader = encoder.reader

    def run(self, inputs: Sequence[Input]) -> Tensor:
        """See :class:`TextNetwork`."""
        vectors = self._encoder.pooled(self.reader.encoded(inputs), self._pooling, last=self._last)
        with torch.inference_mode():
            result: Tensor = self._head(vectors)
        return result


class Rectangles:
    """Runs a batch as rectangles of ids and of types [texts, longest] with the lengths [texts], each at least one."""

    def __init__(self, reader: TextReader, network: Network, spec: RuntimeSpec, *, holds: object, pad: int = 0) -> None:
        """`holds` is what has the weights, kept here in sight of who weighs them."""
        self.reader, self._spec, self._pad, self.holds = reader, spec, pad, holds
        self._network = acceleration.accelerate(network, spec)
        self._graphs = spec.acceleration == Acceleration.CUDA_GRAPHS

    def run(self, inputs: Sequence[Input]) -> Tensor:
        """See :class:`TextNetwork`."""
        encoded = self.reader.encoded(inputs)
        rows, longest = len(encoded), max(len(one.ids) for one in encoded)
        if self._graphs:
            rows = acceleration.rounded_up(rows)
            longest = min(self.reader.max_tokens, next((one for one in _LENGTHS if one >= longest), longest))
        with torch.inference_mode():
            given = (one.to(self._spec.device, non_blocking=True) for one in self._filled(encoded, rows, longest))
            return self._network(*given)[: len(encoded)].float()

    def _filled(self, encoded: Sequence[Encoded], rows: int, longest: int) -> tuple[Tensor, Tensor, Tensor]:
        ids = np.full((rows, longest), self._pad, dtype=np.int64)
        types = np.zeros((rows, longest), dtype=np.int64)
        lengths = np.ones(
            rows, dtype=np.int64
        )  # a row that pads the batch has one token, or its attention would be NaN
        for row, one in enumerate(encoded):
            size = lengths[row] = len(one.ids)
            ids[row, :size] = one.ids
            if one.types is not None:
                types[row, :size] = one.types
        return torch.from_numpy(ids), torch.from_numpy(types), torch.from_numpy(lengths)


def _network(encoder: TextEncoder, pooling: Pooling, head: nn.Module, spec: RuntimeSpec, *, last: int) -> TextNetwork:
    head = head.to(spec.device)
    if spec.acceleration == Acceleration.NONE:
        return Packed(encoder, pooling, head, last=last)
    inner = encoder.encoder

    def network(ids: Tensor, types: Tensor, lengths: Tensor) -> Tensor:
        rows, longest = ids.shape
        packing = Dense(lengths, rows, longest)
        places = torch.arange(longest, device=ids.device).expand(rows, longest).reshape(-1)
        layers = inner(ids.reshape(-1), places, types.reshape(-1), packing, last)
        result: Tensor = head(pooling(layers, packing))
        return result

    return Rectangles(encoder.reader, network, spec, holds=(inner, head))


def _head(checkpoint: Mapping[str, Tensor], config: EncoderConfig, spec: RuntimeSpec) -> FirstTokenHead:
    dense, activation, last = _HEADS[config.family]
    try:
        state = linear_state(checkpoint, {"dense": dense, "last": last})
        inner, outputs = state["dense.weight"].shape[0], state["last.weight"].shape[0]
        _require(outputs, spec, "classes" if spec.outputs > 1 else "scores")
        head = FirstTokenHead(activation, config.hidden_size, inner, outputs)
        head.load_state_dict(state)
    except (KeyError, RuntimeError, IndexError) as error:
        raise LoadError(f"The file has no classifier as {config.family} models have it: {error}") from error
    return head.eval().requires_grad_(requires_grad=False)


def _common(options: Options) -> tuple[str, int | None]:
    architecture = options.choice("architecture", ("", huggingface.ARCHITECTURE), default="")
    return architecture, options.integer("max_tokens", least=0, most=_MOST_TOKENS, default=0) or None


def _require(found: int, spec: RuntimeSpec, what: str) -> None:
    if found != spec.outputs:
        raise LoadError(f"The model gives {found} {what}, {spec.outputs} were declared.")
