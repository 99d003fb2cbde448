"""Texts and pairs of texts to the ids of their tokens, and what is read of those that have too many.

Tokens are counted with the special ones that the tokenizer puts around a text, for they take a model's places too. A text is
encoded whole and then cut, which gives the tokens that the tokenizer's own truncation gives: that one makes every piece that is
left over as well, and of a pair every combination of two of them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from tokenizers import Tokenizer

from inference.runtimes.protocol import Encoded, Ids, Input, LoadError, Read
from inference.types import REFUSE, TO_LIMIT, TextLength

__all__ = ["TOKENIZER", "Encoded", "Ids", "TextReader"]

TOKENIZER: Final = "tokenizer.json"


class TextReader:
    """A tokenizer, and how many tokens of a text the model reads. A pair is cut where its longer text ends."""

    def __init__(self, directory: Path, *, max_tokens: int) -> None:
        """Raises LoadError when the tokenizer is missing or cannot be read, or leaves no room for a text."""
        try:
            tokenizer = Tokenizer.from_str((directory / TOKENIZER).read_text(encoding="utf-8"))
        except Exception as error:  # tokenizers raises bare Exceptions
            raise LoadError(f"{TOKENIZER} cannot be read: {error}") from error
        tokenizer.no_padding()
        tokenizer.no_truncation()
        special, special_of_pair = (tokenizer.num_special_tokens_to_add(is_pair=pair) for pair in (False, True))
        if max_tokens <= special:
            raise LoadError(f"Of {max_tokens} tokens none is left for a text: {special} are the tokenizer's own.")
        self._tokenizer = tokenizer
        # With one token of each text that is read.
        self._least, self._least_of_pair = special + 1, special_of_pair + 2
        self.max_tokens = max_tokens
        self.vocabulary: int = tokenizer.get_vocab_size(with_added_tokens=True)

    def encoded(self, inputs: Sequence[Any]) -> list[Encoded]:
        """The tokens of each input: a text, a tuple of two, or one that was read already. Texts are cut as need be.

        Raises ValueError for one without any token.
        """
        texts = [one for one in inputs if not isinstance(one, Encoded)]
        if not texts:
            return list(inputs)
        read = iter(self.read(texts, [TO_LIMIT] * len(texts)))
        found = (one if isinstance(one, Encoded) else next(read).value for one in inputs)
        return [one for one in found if isinstance(one, Encoded)]

    def read(self, inputs: Sequence[Input], truncate: Sequence[int]) -> list[Read]:
        """See :class:`~inference.runtimes.protocol.ReadsTexts`."""
        encodings = self._tokenizer.encode_batch_fast(list(inputs))
        return [
            self._read(one, may, paired=isinstance(given, tuple))
            for one, may, given in zip(encodings, truncate, inputs, strict=True)
        ]

    def _read(self, encoding: Any, truncate: int, *, paired: bool) -> Read:
        tokens = len(encoding)
        if not tokens:
            raise ValueError("A text has no tokens; the tokenizer adds none around it.")
        most = self.max_tokens
        if truncate > 0:
            most = min(most, max(truncate, self._least_of_pair if paired else self._least))
        length = TextLength(tokens, most) if tokens > most else None
        if length is not None and truncate == REFUSE:
            return Read(None, length)
        ids = np.array(encoding.ids, dtype=np.int64)
        types = np.array(encoding.type_ids, dtype=np.int64) if paired else None
        if length is not None:
            kept = _kept(encoding.sequence_ids, most)
            ids, types = ids[kept], types[kept] if types is not None else None
        return Read(Encoded(ids, types), length)


def _kept(sequence_ids: Sequence[int | None], most: int) -> "np.typing.NDArray[np.bool_]":
    """Which tokens stay: every special one, and of each text as many as there is room for, at least one."""
    of = np.array([-1 if one is None else one for one in sequence_ids], dtype=np.int64)
    first, second = int((of == 0).sum()), int((of == 1).sum())
    room = most - (len(of) - first - second)
    shares = _shares(first, second, max(room, 2)) if second else (max(room, 1), 0)
    kept = of < 0
    for text, share in enumerate(shares):
        own = of == text
        kept |= own & (np.cumsum(own) <= share)
    return kept


def _shares(first: int, second: int, room: int) -> tuple[int, int]:
    """How many tokens of each of two texts are read: what is dropped is dropped of the longer one as long as it is longer.

    As the library tokenizers does it, which gives the odd token to the text that was longer.
    """
    if first > second:
        return _shares(second, first, room)[::-1]
    shorter = first
    longer = max(shorter, room - shorter)
    if shorter + longer > room:
        shorter = room // 2
        longer = room - shorter
    return shorter, longer
