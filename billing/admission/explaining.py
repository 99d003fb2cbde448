"""Why was this call refused? The state of every limit at that moment, kept for a day."""

import datetime as dt
import math
from collections.abc import Iterable
from itertools import islice
from typing import Final

import msgspec
import redis

from billing.admission import keys
from billing.admission.failures import closed_on_failure
from billing.admission.types import LimitKind, Refusal, Refusals, RefusedLimit
from mlplatform.lib.redis import as_bytes, state

_KEPT_US: Final = 86_400_000_000
_MICRO: Final = 1_000_000
_AT_ONCE: Final = 500
_LOOKED_THROUGH: Final = 1000
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
    key_id: str = ""
    models: list[str] = []


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
    return None if packed is None else _kept(request_id, packed, now_s * _MICRO)


def find(
    *, request_id: str, tenants: Iterable[tuple[int, int]], client: redis.Redis | None = None
) -> dict[int, Refusal]:
    """The refusals of calls with this request id, by tenant; ``tenants`` are pairs of shard and tenant id.

    Clients may choose their request ids, so several tenants may have the same. Raises as :func:`explain` does.
    """
    found: dict[int, Refusal] = {}
    rest = iter(tenants)
    while some := list(islice(rest, _AT_ONCE)):
        with closed_on_failure():
            pipe = (client or state()).pipeline(transaction=False)
            for shard, tenant_id in some:
                pipe.hget(keys.refusals(shard, tenant_id), request_id)
            pipe.time()
            *answers, (now_s, _) = pipe.execute()
        for (_, tenant_id), packed in zip(some, answers, strict=True):
            refusal = None if packed is None else _kept(request_id, packed, now_s * _MICRO)
            if refusal is not None:
                found[tenant_id] = refusal
    return found


def recent(*, shard: int, tenant_id: int, newest: int, key_id: str = "", client: redis.Redis | None = None) -> Refusals:
    """The newest refusals of a tenant within 24 hours, or of one key of it, and how many there were.

    Of one key they are looked for among the tenant's newest 1,000. Raises as :func:`explain` does.
    """
    with closed_on_failure():
        client = client or state()
        now_s, _ = client.time()
        since = now_s * _MICRO - _KEPT_US
        order = keys.refusals_in_order(shard, tenant_id)
        looked_through = _LOOKED_THROUGH if key_id else newest
        pipe = client.pipeline(transaction=False)
        pipe.zcount(order, f"({since}", "+inf")
        pipe.zrevrangebyscore(order, "+inf", f"({since}", start=0, num=looked_through)
        count, names = pipe.execute()
        packed = client.hmget(keys.refusals(shard, tenant_id), names) if names else []
    kept = [
        refusal
        for name, value in zip(names, packed, strict=True)
        if value is not None
        and (refusal := _kept(as_bytes(name).decode(), as_bytes(value), now_s * _MICRO)) is not None
    ]
    if not key_id:
        return Refusals(count=count, newest=tuple(kept))
    of_key = [refusal for refusal in kept if refusal.key_id == key_id]
    return Refusals(count=len(of_key), newest=tuple(of_key[:newest]))


def _kept(request_id: str, packed: bytes, now_us: int) -> Refusal | None:
    """What is stored of a refusal; None when it is older than a day."""
    stored = _decoder.decode(packed)
    if now_us - stored.at >= _KEPT_US:
        return None
    limits = tuple(_limit(stored, position) for position in range(len(stored.limits)))
    at = _EPOCH + dt.timedelta(microseconds=stored.at)
    wait_s = max(limit.wait_s for limit in limits)
    passes = None if math.isinf(wait_s) else at + dt.timedelta(seconds=wait_s)
    return Refusal(
        request_id=request_id,
        at=at,
        limits=limits,
        wait_s=wait_s,
        would_pass_at=passes,
        key_id=stored.key_id,
        models=tuple(stored.models),
    )


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
