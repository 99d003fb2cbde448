"""Texts and pairs of texts to the ids of their tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from inference.runtimes.protocol import LoadError

TOKENIZER: Final = "tokenizer.json"
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Encoded:
    """The tokens of one input. ``types`` says for each token of which of two texts it is; None: all are of the first."""

    ids: Ids
    types: Ids | None

    def types_or_zeros(self) -> Ids:
        """The types, whichever way they are said."""
        return np.zeros_like(self.ids) if self.types is None else self.types


class TextReader:
    """A tokenizer that cuts what is longer than a model can read. A pair is cut where its longer text ends."""

    def __init__(self, directory: Path, *, max_tokens: int) -> None:
        """Raises LoadError when the tokenizer is missing or cannot be read."""
        try:
            tokenizer = Tokenizer.from_str((directory / TOKENIZER).read_text(encoding="utf-8"))
        except Exception as error:  # tokenizers raises bare Exceptions
            raise LoadError(f"{TOKENIZER} cannot be read: {error}") from error
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens)
        self._tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.vocabulary: int = tokenizer.get_vocab_size(with_added_tokens=True)

    def read(self, inputs: Sequence[Any]) -> list[Encoded]:
        """The tokens of each input, which is a text or a tuple of two. Raises ValueError for one without any token."""
        encodings = self._tokenizer.encode_batch_fast(list(inputs))
        return [_encoded(one, paired=isinstance(given, tuple)) for one, given in zip(encodings, inputs, strict=True)]


def _encoded(encoding: Any, *, paired: bool) -> Encoded:
    if not encoding.ids:
        raise ValueError("A text has no tokens; the tokenizer adds none around it.")
    ids = np.array(encoding.ids, dtype=np.int64)
    return Encoded(ids, np.array(encoding.type_ids, dtype=np.int64) if paired else None)
