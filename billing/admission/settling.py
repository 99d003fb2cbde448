"""The end of a hold: settled by whoever did the work, released by whoever gave it up. Both may be repeated."""

from collections.abc import Sequence
from typing import Any

import redis

from billing.admission import connection, keys, packing, scripts
from billing.admission.failures import closed_on_failure
from billing.admission.types import MAX_CHARGES, Settled, Settlement
from mlplatform.lib.redis import Script, state


def settle(
    *, shard: int, tenant_id: int, holds: Sequence[Settlement], client: redis.Redis | None = None
) -> tuple[Settled, ...]:
    """Turn holds into usage records with the units really used and give the rest back; one answer a hold, in order.

    Safe to repeat. Raises UNAVAILABLE when Redis fails; then the holds are settled by a repetition, or expire unpaid.
    """
    answers = _run(scripts.SETTLE, shard, tenant_id, [_packed(hold) for hold in holds], client, more=(b"0",))
    return parse_settled(answers)


def settle_commands(
    pipe: connection.Pipeline, *, shard: int, tenant_id: int, holds: Sequence[Settlement], deadline_us: int = 0
) -> int:
    """Put the settling of one tenant's holds on a pipeline. Returns how many replies that adds, for ``parse_settled``.

    After ``deadline_us`` (the server's clock, as ``ServerClock`` estimates it; 0 for ever) the server does nothing.

    The script goes with its whole text: inside a pipeline there is no second try after an unknown SHA-1.
    """
    names = keys.of_tenant(shard, tenant_id)
    messages = [packing.message(chunk) for chunk in _chunks([_packed(hold) for hold in holds])]
    for message in messages:
        pipe.eval(scripts.SETTLE.source, len(names), *names, message, deadline_us)
    return len(messages)


def parse_settled(reply: Sequence[int]) -> tuple[Settled, ...]:
    """Read one reply of ``settle_commands``."""
    return tuple(Settled(answer) for answer in reply)


def release(*, shard: int, tenant_id: int, hold_ids: Sequence[str], client: redis.Redis | None = None) -> int:
    """Give back everything that holds took; returns how many were still held. Safe to repeat.

    Also for holds whose admission failed: one that is still under way takes nothing when it arrives. Raises
    UNAVAILABLE when Redis fails; the holds then expire by themselves.
    """
    # A stalled server must run it before anything that settles these holds when both wake, and cannot ask for the text.
    answers = _run(scripts.RELEASE, shard, tenant_id, list(hold_ids), client, whole=True)
    return answers.count(1)


def _run(
    script: Script,
    shard: int,
    tenant_id: int,
    items: Sequence[Any],
    client: redis.Redis | None,
    *,
    more: tuple[bytes, ...] = (),
    whole: bool = False,
) -> list[int]:
    names = keys.of_tenant(shard, tenant_id)
    answers: list[int] = []
    with closed_on_failure():
        for chunk in _chunks(items):
            answers += connection.run(client or state(), script, names, (packing.message(chunk), *more), whole=whole)
    return answers


def _packed(hold: Settlement) -> tuple[str, int]:
    if hold.units is None:
        return hold.hold_id, -1
    if hold.units < 0:
        raise ValueError("no fewer than 0 units can have been used")
    return hold.hold_id, hold.units


def _chunks(items: Sequence[Any]) -> list[Sequence[Any]]:
    return [items[start : start + MAX_CHARGES] for start in range(0, len(items), MAX_CHARGES)]
