"""The wire between a worker and the process of a tenant's model: frames of MessagePack, each with its length before it.

Nothing that comes from the other side is run or trusted: a frame is no longer than what was asked for can be.
"""

import socket
import struct
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np

from inference.isolation.patience import Patience
from inference.runtimes import protocol
from inference.runtimes.protocol import Array, Encoded, Input
from inference.types import TextLength

_LENGTH: Final = struct.Struct("<Q")
_CHUNK: Final = 1 << 20
_encode = msgspec.msgpack.Encoder().encode


class Text(msgspec.Struct, frozen=True, array_like=True, tag="t"):
    text: str


class Pair(msgspec.Struct, frozen=True, array_like=True, tag="p"):
    text: str
    pair: str


class Numbers(msgspec.Struct, frozen=True, array_like=True, tag="n"):
    """An array: of float32, or of bytes where it is an image."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


class Tokens(msgspec.Struct, frozen=True, array_like=True, tag="k"):
    """A text or pair that was read: int64 ids, and the types or nothing."""

    ids: bytes
    types: bytes | None


class ReadText(msgspec.Struct, frozen=True, array_like=True):
    """What became of a text: its tokens unless it is too long and may not be cut, and its length where it has too many."""

    tokens: Tokens | None
    length: tuple[int, int] | None


class Load(msgspec.Struct, frozen=True, tag="load"):
    """The description of a model version, as ``RuntimeSpec`` has it, and the limits of the process."""

    spec: dict[str, Any]
    limits: dict[str, float]


class Forward(msgspec.Struct, frozen=True, tag="forward"):
    """One batch."""

    inputs: list[Text | Pair | Tokens | Numbers]


class Read(msgspec.Struct, frozen=True, tag="read"):
    """Texts of which the tokens are wanted; ``truncate`` as ``ReadsTexts.read`` has it."""

    inputs: list[Text | Pair | Tokens | Numbers]
    truncate: list[int]


class Loaded(msgspec.Struct, frozen=True, tag="loaded"):
    """The model stands: what its weights take, the walls around it, and how many tokens of a text it reads, if it reads texts."""

    weights_bytes: int
    walls: list[str]
    max_tokens: int | None


class Rows(msgspec.Struct, frozen=True, tag="rows"):
    """The result of a batch; what it must be like is checked by its reader."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


class Texts(msgspec.Struct, frozen=True, tag="texts"):
    """What became of each text that was to be read."""

    found: list[ReadText]


class Fault(msgspec.Struct, frozen=True, tag="fault"):
    """What the model raised: the name of its kind, and its words."""

    kind: str
    reason: str


Order = Load | Read | Forward
Answer = Loaded | Texts | Rows | Fault
_orders: Final[msgspec.msgpack.Decoder[Order]] = msgspec.msgpack.Decoder(Order)
_answers: Final[msgspec.msgpack.Decoder[Answer]] = msgspec.msgpack.Decoder(Answer)


def decode_order(frame: bytes) -> Order:
    return _orders.decode(frame)


def decode_answer(frame: bytes) -> Answer:
    """Raises msgspec's MsgspecError for what is none."""
    return _answers.decode(frame)


def pack(inputs: Sequence[Input]) -> Forward:
    """A batch as it travels."""
    return Forward([_packed(one) for one in inputs])


def pack_texts(inputs: Sequence[Input], truncate: Sequence[int]) -> Read:
    """Texts as they travel."""
    return Read([_packed(one) for one in inputs], list(truncate))


def unpack(order: Forward | Read) -> list[Input]:
    """The inputs again."""
    return [_unpacked(one) for one in order.inputs]


def pack_read(found: Sequence[protocol.Read]) -> Texts:
    """What was read, as it travels."""
    return Texts([_packed_read(one) for one in found])


def read_of(answer: Texts) -> list[protocol.Read]:
    """What was read. Raises ValueError for what cannot be tokens."""
    return [
        protocol.Read(
            _tokens(one.tokens) if one.tokens is not None else None,
            TextLength(*one.length) if one.length is not None else None,
        )
        for one in answer.found
    ]


def rows_of(answer: Rows, *, outputs: int) -> Array:
    """float32 [n, outputs]. Raises ValueError for anything else."""
    if answer.dtype != "<f4" or len(answer.shape) != 2 or answer.shape[1] != outputs:
        raise ValueError(f"a result of {answer.dtype} {list(answer.shape)}")
    return np.frombuffer(answer.data, dtype="<f4").reshape(answer.shape)


def send(channel: socket.socket, frame: msgspec.Struct) -> None:
    """Raises OSError where the other side is gone, TimeoutError where it does not read within the channel's time-out."""
    body = _encode(frame)
    channel.sendall(_LENGTH.pack(len(body)) + body)


def receive(channel: socket.socket, *, most: int, patience: Patience | None = None) -> bytes:
    """One frame of at most ``most`` bytes. Raises EOFError where the other side is gone or says more than that, and
    TimeoutError when it is not there while ``patience`` lasts."""
    (length,) = _LENGTH.unpack(_exactly(channel, _LENGTH.size, patience))
    if length > most:
        raise EOFError(f"a frame of {length:,} bytes, where {most:,} are the most")
    return _exactly(channel, length, patience)


def _exactly(channel: socket.socket, size: int, patience: Patience | None) -> bytes:
    found = bytearray()
    while len(found) < size:
        left_s = patience.left_s() if patience is not None else None
        if left_s == 0.0:
            raise TimeoutError
        channel.settimeout(left_s)
        try:
            part = channel.recv(min(_CHUNK, size - len(found)))
        except TimeoutError:
            continue  # Perhaps the other side was waiting for a processor.
        if not part:
            raise EOFError("the other side is gone")
        found += part
    return bytes(found)


def _packed_read(one: protocol.Read) -> ReadText:
    length = (one.length.tokens, one.length.max_tokens) if one.length is not None else None
    return ReadText(_packed_tokens(one.value) if isinstance(one.value, Encoded) else None, length)


def _packed_tokens(one: Encoded) -> Tokens:
    return Tokens(one.ids.astype("<i8").tobytes(), one.types.astype("<i8").tobytes() if one.types is not None else None)


def _tokens(one: Tokens) -> Encoded:
    ids = np.frombuffer(one.ids, dtype="<i8")
    types = np.frombuffer(one.types, dtype="<i8") if one.types is not None else None
    if not ids.size or (types is not None and types.size != ids.size):
        raise ValueError("tokens without ids, or with other types")
    return Encoded(ids, types)


def _packed(one: Input) -> Text | Pair | Tokens | Numbers:
    if isinstance(one, Encoded):
        return _packed_tokens(one)
    if isinstance(one, str):
        return Text(one)
    if isinstance(one, tuple):
        return Pair(*one)
    return Numbers(one.dtype.str, one.shape, np.ascontiguousarray(one).tobytes())


def _unpacked(one: Text | Pair | Tokens | Numbers) -> Input:
    if isinstance(one, Tokens):
        return _tokens(one)
    if isinstance(one, Text):
        return one.text
    if isinstance(one, Pair):
        return (one.text, one.pair)
    return np.frombuffer(one.data, dtype=np.dtype(one.dtype)).reshape(one.shape).copy()
