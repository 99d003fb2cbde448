"""The names that tensors have in Hugging Face checkpoints of the BERT family, mapped to ours."""

from collections.abc import Iterator, Mapping
from typing import Final

import torch
from torch import Tensor

from inference.runtimes.encoder_config import EncoderConfig

_OLD_NAMES: Final = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}

# Of one layer: ours → theirs, below the layer's own name.
_BERT_LAYER: Final = {
    "attention_output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "widen": "intermediate.dense",
    "narrow": "output.dense",
    "output_norm": "output.LayerNorm",
}
_DISTILBERT_LAYER: Final = {
    "attention_output": "attention.out_lin",
    "attention_norm": "sa_layer_norm",
    "widen": "ffn.lin1",
    "narrow": "ffn.lin2",
    "output_norm": "output_layer_norm",
}
_BERT_ATTENTION: Final = tuple(f"attention.self.{part}" for part in ("query", "key", "value"))
_DISTILBERT_ATTENTION: Final = tuple(f"attention.{part}_lin" for part in ("q", "k", "v"))


def plain_names(checkpoint: Mapping[str, Tensor], family: str) -> dict[str, Tensor]:
    """The tensors without the prefix that a model with a head puts before its encoder's, under today's names."""
    prefix = f"{family}."
    named = {}
    for name, tensor in checkpoint.items():
        short = name.removeprefix(prefix)
        for old, new in _OLD_NAMES.items():
            if short.endswith(old):
                short = short.removesuffix(old) + new
        named[short] = tensor
    return named


def encoder_state(checkpoint: Mapping[str, Tensor], config: EncoderConfig) -> dict[str, Tensor]:
    """The state of a `BertEncoder` from a checkpoint with plain names, as float32 copies. Raises KeyError for a missing one.

    Copies, because safetensors maps the file into memory: what was verified must not change with the file later.
    """
    distilled = config.family == "distilbert"
    names = {
        "words.weight": "embeddings.word_embeddings.weight",
        "positions.weight": "embeddings.position_embeddings.weight",
        **_pair("norm", "embeddings.LayerNorm"),
    }
    if config.segments:
        names["segments"] = "embeddings.token_type_embeddings.weight"
    if config.embedding_size != config.hidden_size:
        names |= _pair("project", "embeddings_project")
    state: dict[str, Tensor] = {}
    for number in range(config.num_hidden_layers):
        ours = f"layers.{number}"
        theirs = f"transformer.layer.{number}" if distilled else f"encoder.layer.{number}"
        for our_part, their_part in (_DISTILBERT_LAYER if distilled else _BERT_LAYER).items():
            names |= _pair(f"{ours}.{our_part}", f"{theirs}.{their_part}")
        parts = _DISTILBERT_ATTENTION if distilled else _BERT_ATTENTION
        for kind in ("weight", "bias"):
            joined = torch.cat([checkpoint[f"{theirs}.{part}.{kind}"] for part in parts])
            state[f"{ours}.projection.{kind}"] = joined.float()
    return state | {ours: _copy(checkpoint[theirs]) for ours, theirs in names.items()}


def require_shapes(state: Mapping[str, Tensor], config: EncoderConfig) -> None:
    """Raises RuntimeError where a config and its file differ in sizes.

    Asked before a network is made: a config of a few lines can describe one that no machine has the memory for, while a file
    has as many numbers as it has bytes.
    """
    hidden, inner, width = config.hidden_size, config.intermediate_size, config.embedding_size
    wanted = {
        "words.weight": (config.vocab_size, width),
        "positions.weight": (config.max_position_embeddings, width),
    }
    if config.segments:
        wanted["segments"] = (config.segments, width)
    if width != hidden:
        wanted["project.weight"] = (hidden, width)
    for number in range(config.num_hidden_layers):
        wanted |= {
            f"layers.{number}.projection.weight": (3 * hidden, hidden),
            f"layers.{number}.attention_output.weight": (hidden, hidden),
            f"layers.{number}.widen.weight": (inner, hidden),
            f"layers.{number}.narrow.weight": (hidden, inner),
        }
    for name, shape in wanted.items():
        if tuple(state[name].shape) != shape:
            raise RuntimeError(f"{name} has the shape {tuple(state[name].shape)} there and {shape} by the config")


def linear_state(checkpoint: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """The state of linear layers, `names` of which are ours → theirs, as float32 copies. Raises KeyError."""
    return {ours: _copy(checkpoint[theirs]) for ours, theirs in _pairs(names)}


def _pairs(names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for ours, theirs in names.items():
        yield from _pair(ours, theirs).items()


def _pair(ours: str, theirs: str) -> dict[str, str]:
    return {f"{ours}.{kind}": f"{theirs}.{kind}" for kind in ("weight", "bias")}


def _copy(tensor: Tensor) -> Tensor:
    return tensor.float().clone()
