"""What the `config.json` of a Hugging Face folder says of an encoder of the BERT family."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from torch import Tensor
from torch.nn import functional

from inference.runtimes.protocol import LoadError

ACTIVATIONS: Final[Mapping[str, Callable[[Tensor], Tensor]]] = {
    "gelu": functional.gelu,
    "gelu_new": partial(functional.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(functional.gelu, approximate="tanh"),
    "relu": functional.relu,
    "silu": functional.silu,
}

FAMILIES: Final[Mapping[str, str]] = {
    "bert": "bert",
    "electra": "electra",
    "distilbert": "distilbert",
    "roberta": "roberta",
    "camembert": "roberta",
    "xlm-roberta": "roberta",
}
"""`model_type` → the family whose names and arithmetic it has."""

_DISTILBERT_NAMES: Final = {
    "hidden_size": "dim",
    "intermediate_size": "hidden_dim",
    "num_attention_heads": "n_heads",
    "num_hidden_layers": "n_layers",
}
_EPSILON: Final = 1e-12  # what the libraries take where a config says none
_MOST: Final = {
    "hidden_size": 16_384,
    "intermediate_size": 65_536,
    "num_attention_heads": 256,
    "num_hidden_layers": 256,
    "vocab_size": 2_000_000,
    "max_position_embeddings": 100_000,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderConfig:
    """The part of a `config.json` that decides what is computed.

    `segments` is how many kinds of text there are embeddings for, 0 in a family that has none. `first_position` is the
    position of the first token: RoBERTa counts from behind that of its padding.
    """

    family: str
    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    num_hidden_layers: int
    vocab_size: int
    max_position_embeddings: int
    layer_norm_eps: float
    activation: str
    embedding_size: int
    segments: int
    first_position: int

    @property
    def longest(self) -> int:
        """The most tokens that there are positions for."""
        return self.max_position_embeddings - self.first_position

    @classmethod
    def read(cls, file: Path) -> "EncoderConfig":
        """Read `file`; LoadError when it describes another architecture than `bert_encoder` computes."""
        values = read_json(file)
        family = FAMILIES.get(str(values.get("model_type")), "")
        activation = str(values.get("activation" if family == "distilbert" else "hidden_act", "gelu"))
        positions = values.get("position_embedding_type", "absolute")
        if not family or activation not in ACTIVATIONS or positions != "absolute":
            raise LoadError(
                f"{file.name} describes {(values.get('model_type'), activation, positions)}; what runs here are "
                f"{', '.join(FAMILIES)} with {', '.join(ACTIVATIONS)} and absolute positions. For others set the option "
                "architecture to 'transformers'."
            )
        if values.get("is_decoder") or values.get("add_cross_attention"):
            raise LoadError(f"{file.name} describes a decoder, which reads only what stands before a token.")
        sizes = {name: _size(values, name, family, file) for name in _MOST}
        hidden = sizes["hidden_size"]
        if hidden % sizes["num_attention_heads"]:
            raise LoadError(f"{file.name}: {hidden} numbers cannot be shared by {sizes['num_attention_heads']} heads.")
        embedding = values.get("embedding_size", hidden) if family == "electra" else hidden
        padding = values.get("pad_token_id")
        return cls(
            family=family,
            layer_norm_eps=float(_EPSILON if family == "distilbert" else values.get("layer_norm_eps", _EPSILON)),
            activation=activation,
            embedding_size=int(embedding),
            segments=0 if family == "distilbert" else int(values.get("type_vocab_size", 2)),
            first_position=(1 if padding is None else int(padding)) + 1 if family == "roberta" else 0,
            **sizes,
        )


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file; LoadError when it is missing or something else."""
    try:
        values = json.loads(file.read_bytes())
    except FileNotFoundError as error:
        raise LoadError(f"The artefact has no {file.name}.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise LoadError(f"{file.name} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise LoadError(f"{file.name} holds no object.")
    return values


def _size(values: Mapping[str, Any], name: str, family: str, file: Path) -> int:
    theirs = _DISTILBERT_NAMES.get(name, name) if family == "distilbert" else name
    value = values.get(theirs)
    if type(value) is not int or not 1 <= value <= _MOST[name]:
        raise LoadError(f"{file.name} does not say {theirs!r} as a whole number from 1 to {_MOST[name]:,}.")
    return value
