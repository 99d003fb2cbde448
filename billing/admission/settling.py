"""The end of a hold: settled where the work was done, released where it was given up. All of it may be repeated."""

from collections.abc import Sequence
from typing import Any, Final

import redis
from django.conf import settings

from billing.admission import connection, keys, packing, scripts, server_clock
from billing.admission.failures import closed_on_failure, failed
from billing.admission.types import MAX_CHARGES, Settled, Settlement
from mlplatform.lib.redis import state

VOIDED_AT_ONCE: Final = 256
_TRIES: Final = 2
# Answers of the script that releases.
_RELEASED, _REVERSED = 1, 3


def settle(
    *, shard: int, tenant_id: int, holds: Sequence[Settlement], client: redis.Redis | None = None
) -> tuple[Settled, ...]:
    """Turn holds into usage records with the units really used and give the rest back; one answer a hold, in order.

    Safe to repeat. Raises UNAVAILABLE when Redis fails or comes to it too late. Then some of the holds may be settled: who
    gives no answer for them must :func:`void` them.
    """
    answers: list[Settled] = []
    for chunk in _chunks([_packed(hold) for hold in holds]):
        answers += _settle(keys.of_tenant(shard, tenant_id), packing.message(chunk), client or state())
    return tuple(answers)


def _settle(names: Sequence[bytes], message: bytes, client: redis.Redis) -> tuple[Settled, ...]:
    for _ in range(_TRIES):
        deadline_us = server_clock.OF_STATE.deadline_us(patience_s=settings.REDIS_TIMEOUT_S)
        with closed_on_failure():
            reply = connection.run(client, scripts.SETTLE, names, (message, str(deadline_us).encode()))
        settled = parse_settled(reply)
        late = Settled.LATE in settled
        # Anew when it was late, for then the estimate may be wrong: the server's clock can have been set forward.
        server_clock.OF_STATE.learn(reply[-1], anew=late)
        if not late:
            return settled
    raise failed("late")


def settle_commands(
    pipe: connection.Pipeline, *, shard: int, tenant_id: int, holds: Sequence[Settlement], deadline_us: int = 0
) -> int:
    """Put the settling of one tenant's holds on a pipeline. Returns how many replies that adds, for ``parse_settled``.

    After ``deadline_us`` (the server's clock, as ``ServerClock`` estimates it; 0 for ever) the server does nothing.
    """
    names = keys.of_tenant(shard, tenant_id)
    messages = [packing.message(chunk) for chunk in _chunks([_packed(hold) for hold in holds])]
    for message in messages:
        pipe.run(scripts.SETTLE, names, (message, str(deadline_us)))
    return len(messages)


def parse_settled(reply: Sequence[int]) -> tuple[Settled, ...]:
    """Read one reply of ``settle_commands``: a number for each hold, then the server's clock."""
    return tuple(Settled(answer) for answer in reply[:-1])


def release(*, shard: int, tenant_id: int, hold_ids: Sequence[str], client: redis.Redis | None = None) -> list[str]:
    """Give back everything that holds took; returns those that were released, now or before. Safe to repeat.

    Settled holds stay settled. Also for holds whose admission failed: one that is still under way takes nothing when it
    arrives. Raises UNAVAILABLE when Redis fails; what was asked may be done then, so the holds must be voided.
    """
    answers = _release(shard, tenant_id, hold_ids, client, reverses=False)
    return [hold_id for hold_id, answer in zip(hold_ids, answers, strict=True) if answer == _RELEASED]


def void(*, shard: int, tenant_id: int, hold_ids: Sequence[str], client: redis.Redis | None = None) -> int:
    """Make true that nothing was charged for these holds: what they hold is given back, and what was settled is reversed.

    The limits get back what stayed taken, and the ledger a second record that takes the first one's sums back. Whatever is
    still under way for these holds, an admission or a settlement, does nothing when it arrives. Returns how many were
    settled before. Safe to repeat, and to be repeated until it returns: it raises UNAVAILABLE when Redis fails.
    At most :data:`VOIDED_AT_ONCE` holds go into one run of the script.
    """
    return _release(shard, tenant_id, hold_ids, client, reverses=True).count(_REVERSED)


def _release(
    shard: int, tenant_id: int, hold_ids: Sequence[str], client: redis.Redis | None, *, reverses: bool
) -> list[int]:
    names = keys.of_tenant(shard, tenant_id)
    answers: list[int] = []
    with closed_on_failure():
        for chunk in _chunks(hold_ids, VOIDED_AT_ONCE):
            # A stalled server cannot ask for the text: with it, it runs when it wakes, even if no client can send it again.
            answers += connection.run(
                client or state(),
                scripts.RELEASE,
                names,
                (packing.message(list(chunk)), b"1" if reverses else b"0"),
                whole=True,
            )
    return answers


def _packed(hold: Settlement) -> tuple[str, int]:
    if hold.units is None:
        return hold.hold_id, -1
    if hold.units < 0:
        raise ValueError("no fewer than 0 units can have been used")
    return hold.hold_id, hold.units


def _chunks(items: Sequence[Any], most: int = MAX_CHARGES) -> list[Sequence[Any]]:
    return [items[start : start + most] for start in range(0, len(items), most)]
