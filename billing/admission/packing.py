"""Arguments of the scripts, as msgpack.

Redis's msgpack knows no binary type, so bytes travel under the head of a string; the scripts never look inside.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from billing.admission.types import MAX_CHARGES, Charge, Limit, LimitKind, Subject

MICRO: Final = 1_000_000
_A_DAY_S: Final = 86_400
_encode = msgspec.msgpack.Encoder().encode


@lru_cache(maxsize=20_000)
def limits(of: tuple[Limit, ...]) -> bytes:
    """ARGV[1] of the admission script; made once for each set of limits. Raises ValueError when two share an id."""
    if len({limit.id for limit in of}) < len(of):
        raise ValueError("two limits of one call share an id, and so their state")
    return _encode([_limit(limit) for limit in of])


SHORTEST_LIFETIME_S: Final = 32 * 86_400
"""How long a tenant's state is kept after the last write at least: its counters of a month are made anew from the ledger."""


@lru_cache(maxsize=20_000)
def lifetime_us(of: tuple[Limit, ...]) -> int:
    """How long the state of these limits is kept after the last write: until each of them would be whole again."""
    needed = [SHORTEST_LIFETIME_S, *(_whole_after_s(limit) + _A_DAY_S for limit in of)]
    return max(needed) * MICRO


def _whole_after_s(limit: Limit) -> int:
    match limit.kind:
        case LimitKind.TOKEN_BUCKET:
            return math.ceil(limit.amount / limit.rate)
        case LimitKind.FIXED_WINDOW | LimitKind.SLIDING_WINDOW:
            return 2 * limit.window_s
        case _:
            return 0


def _limit(limit: Limit) -> list[str | int]:
    refill, scale = limit.refill() if limit.kind is LimitKind.TOKEN_BUCKET else (0, 1)
    return [
        limit.id,
        limit.kind.value,
        limit.counts,
        limit.scope,
        limit.subject,
        limit.amount,
        limit.window_s * MICRO,
        refill,
        scale,
        limit.name,
        limit.source,
    ]


def call(
    *,
    subject: Subject,
    charges: Sequence[Charge],
    request_id: str,
    hold_ttl_s: float,
    settle_now: bool,
    deadline_us: int,
    lifetime_us: int,
) -> bytes:
    """ARGV[2] of the admission script. Raises ValueError for too many charges or one hold id used twice."""
    if len(charges) > 1 and (len(charges) > MAX_CHARGES or len({charge.hold_id for charge in charges}) < len(charges)):
        raise ValueError(f"a call has at most {MAX_CHARGES:,} charges, each with its own hold id")
    return _encode(
        (
            subject.tenant_version,
            subject.key_version,
            request_id,
            int(hold_ttl_s * MICRO),
            settle_now,
            deadline_us,
            [
                (each.hold_id, each.model, each.units, each.requests, _text(each.record), each.model_requests)
                for each in charges
            ],
            lifetime_us,
        )
    )


def message(value: Any) -> bytes:
    """The argument of the other scripts."""
    return _encode(value)


def _text(data: bytes) -> msgspec.Raw:
    length = len(data)
    if length < 2**8:
        return msgspec.Raw(b"\xd9%c%b" % (length, data))
    if length < 2**16:
        return msgspec.Raw(b"\xda%b%b" % (length.to_bytes(2, "big"), data))
    return msgspec.Raw(b"\xdb%b%b" % (length.to_bytes(4, "big"), data))
