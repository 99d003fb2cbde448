"""Why was this call refused? The state of every limit at that moment, kept for a day."""

import datetime as dt
import math
from typing import Final

import msgspec
import redis

from billing.admission import keys
from billing.admission.failures import closed_on_failure
from billing.admission.types import LimitKind, Refusal, RefusedLimit
from mlplatform.lib.redis import state

_KEPT_US: Final = 86_400_000_000
_MICRO: Final = 1_000_000
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class _Limit(msgspec.Struct, array_like=True, frozen=True):
    """The order of ``packing.limits``."""

    id: str
    kind: LimitKind
    counts: str
    scope: str
    subject: str
    amount: int
    window: int
    refill: int
    scale: int
    name: str
    source: str


class _Stored(msgspec.Struct, array_like=True, frozen=True):
    at: int
    limits: list[_Limit]
    takes: list[int]
    answer: list[int]


_decoder = msgspec.msgpack.Decoder(_Stored)


def explain(*, shard: int, tenant_id: int, request_id: str, client: redis.Redis | None = None) -> Refusal | None:
    """The refusal of a call of this tenant in the last 24 hours; None when there was none or it is forgotten.

    A tenant's last 10,000 refusals are kept. Raises UNAVAILABLE when Redis fails.
    """
    with closed_on_failure():
        pipe = (client or state()).pipeline(transaction=False)
        pipe.hget(keys.refusals(shard, tenant_id), request_id)
        pipe.time()
        packed, (now_s, _) = pipe.execute()
    if packed is None:
        return None
    stored = _decoder.decode(packed)
    if now_s * _MICRO - stored.at >= _KEPT_US:
        return None
    limits = tuple(_limit(stored, position) for position in range(len(stored.limits)))
    at = _EPOCH + dt.timedelta(microseconds=stored.at)
    wait_s = max(limit.wait_s for limit in limits)
    passes = None if math.isinf(wait_s) else at + dt.timedelta(seconds=wait_s)
    return Refusal(request_id=request_id, at=at, limits=limits, wait_s=wait_s, would_pass_at=passes)


def _limit(stored: _Stored, position: int) -> RefusedLimit:
    limit = stored.limits[position]
    remaining, reset, wait = stored.answer[3 * position + 2 : 3 * position + 5]
    return RefusedLimit(
        id=limit.id,
        name=limit.name,
        kind=limit.kind,
        counts=limit.counts,
        scope=limit.scope,
        subject=limit.subject,
        amount=limit.amount,
        window_s=limit.window / _MICRO,
        rate=limit.refill / limit.scale,
        source=limit.source,
        asked=stored.takes[position],
        remaining=remaining,
        reset_s=reset / _MICRO,
        wait_s=wait / _MICRO if wait >= 0 else math.inf,
        refused=wait != 0,
    )
