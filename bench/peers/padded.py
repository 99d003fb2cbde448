"""The same weights run as most teams serve them: each batch is padded to its longest text, and the padding is computed.

Examples of LitServe and of the libraries that models come with do so; the product's own runtime packs instead, and a text costs
what its own tokens cost.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from inference.runtimes.packing import Dense
from inference.runtimes.protocol import Input
from inference.runtimes.text_networks import Packed


class Padded:
    """Takes the place of a classifier's packed network; it has the same encoder, pooling and head."""

    def __init__(self, packed: Packed) -> None:
        self._reader, self._encoder = packed._encoder.reader, packed._encoder.encoder
        self._pooling, self._head, self._last = packed._pooling, packed._head, packed._last

    def run(self, inputs: Sequence[Input]) -> Tensor:
        """Texts → logits [texts, outputs]."""
        encoded = self._reader.encoded(inputs)
        lengths = np.array([len(one.ids) for one in encoded], dtype=np.int64)
        rows, longest = len(encoded), int(lengths.max())
        ids = np.zeros((rows, longest), dtype=np.int64)
        for row, one in enumerate(encoded):
            ids[row, : lengths[row]] = one.ids
        with torch.inference_mode():
            packing = Dense(torch.from_numpy(lengths), rows, longest)
            places = torch.arange(longest).expand(rows, longest).reshape(-1)
            flat = torch.from_numpy(ids).reshape(-1)
            layers = self._encoder(flat, places, torch.zeros_like(flat), packing, self._last)
            result: Tensor = self._head(self._pooling(layers, packing))
        return result
