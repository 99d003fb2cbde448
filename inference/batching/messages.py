"""The wire between batchers and workers: MessagePack arrays in base64, because Celery's envelope is JSON."""

import base64

import msgspec

from inference.types import TO_LIMIT, TextLength

TOO_LATE = "too late"
"""The ``error`` of a batch that no worker computed because its deadline had passed."""


class ItemMessage(msgspec.Struct, frozen=True, array_like=True):
    """One input of a batch: its canonical bytes, the hold to settle (empty: none), and the cache key (empty: do not keep).

    ``truncate`` is whether the input may be cut, as ``inference.inputs.truncation`` says it. A message without it is of an
    earlier release, which knows no refusal.
    """

    payload: bytes
    cache_key: bytes
    hold_id: str
    tenant_id: int
    shard: int
    truncate: int = TO_LIMIT


class BatchMessage(msgspec.Struct, frozen=True, array_like=True):
    """One batch of one model version. ``deadline`` is unix seconds: later nobody waits for it."""

    batch_id: str
    version_id: int
    digest: str
    reply_to: str
    deadline: float
    cache_ttl_s: int
    items: list[ItemMessage]


class BatchReply(msgspec.Struct, frozen=True, array_like=True):
    """The scores of each input as float32 bytes, or None where the model failed on it; ``error`` if it failed on all.

    ``problems`` tells by the input's place why the model failed on it; ``compute_s`` is the model's own time for the batch.
    ``lengths`` are those of inputs longer than the model reads, by place: one with scores was cut, one without refused.
    ``refusal`` says to the callers why the model may not be loaded: it is their own tenant's, and the quota of that is used up.
    """

    batch_id: str
    worker: str
    results: list[bytes | None]
    error: str = ""
    problems: dict[int, str] = msgspec.field(default_factory=dict)
    compute_s: float = 0.0
    lengths: dict[int, TextLength] = msgspec.field(default_factory=dict)
    refusal: str = ""

    @property
    def refused(self) -> dict[int, TextLength]:
        """The inputs that were not computed because they are too long, by place."""
        return {place: length for place, length in self.lengths.items() if self.results[place : place + 1] == [None]}


_encoder = msgspec.msgpack.Encoder()
_batches = msgspec.msgpack.Decoder(BatchMessage)
_replies = msgspec.msgpack.Decoder(BatchReply)


def encode_batch(message: BatchMessage) -> str:
    return base64.b64encode(_encoder.encode(message)).decode()


def decode_batch(text: str) -> BatchMessage:
    return _batches.decode(base64.b64decode(text))


def encode_reply(reply: BatchReply) -> bytes:
    return _encoder.encode(reply)


def decode_reply(body: bytes) -> BatchReply:
    return _replies.decode(body)
