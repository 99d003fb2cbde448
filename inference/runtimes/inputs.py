"""From canonical bytes (see ``inference.inputs.canonical``) to what a runtime computes on. Imports no torch."""

import struct
from typing import Final

import numpy as np

from inference.runtimes.protocol import Input

_PAIR_HEAD: Final = struct.Struct("<I")


def decode(payload: bytes) -> Input:
    """The text, the two texts, the float32 array or the uint8 image that ``canonical.encode`` wrote down.

    Arrays and images are views of ``payload``: nothing is copied, and they are read-only. Raises ValueError for bytes
    that no release of the product writes.
    """
    kind = payload[:1]
    if kind == b"t":
        return payload[1:].decode()
    if kind == b"p":
        (length,) = _PAIR_HEAD.unpack_from(payload, 1)
        middle = 1 + _PAIR_HEAD.size + length
        return payload[1 + _PAIR_HEAD.size : middle].decode(), payload[middle:].decode()
    if kind not in {b"f", b"i"}:
        raise ValueError(f"These bytes are no input: they begin with {kind!r}.")
    rank = payload[1]
    shape = struct.unpack_from(f"<{rank}I", payload, 2)
    return np.frombuffer(payload, dtype="<f4" if kind == b"f" else "u1", offset=2 + 4 * rank).reshape(shape)
