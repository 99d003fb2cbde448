"""The end of a batch on the worker's side: holds settled and the reply pushed, in one pipeline, or neither of them.

A batch that was computed whole is sent ahead: its settling was packed before it was computed, because a forward pass leaves the
processor's caches cold, and who computes sends it and waits for nothing. What comes of it is heard on another thread, and if
that is anything but good, all of it is asked once more by :func:`settle_and_reply`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import hiredis
from django.conf import settings
from prometheus_client import Counter

from billing import admission
from billing.admission import connection, scripts
from billing.admission.server_clock import ServerClock
from inference.batching.messages import BatchReply, ItemMessage, encode_reply
from mlplatform.lib import redis
from mlplatform.lib.redis_ahead import Ahead

logger = logging.getLogger(__name__)


class _AfterSettling(redis.Script):
    """A script whose text names the settling script that runs before it in the same pipeline.

    Workers of two releases share a server. Were their replies one script, a server that knows it from the other release, and not
    this one's settling yet, would push an answer and settle nothing. A batch that settles nothing makes a server know it too.
    """

    after = (scripts.SETTLE,)

    @cached_property
    def source(self) -> str:
        return f"{self.path.read_text()}-- After settle.lua {scripts.SETTLE.sha}\n"


REPLY: Final[redis.Script] = _AfterSettling(Path(__file__).parent / "reply.lua")
_REPLY_LIFETIME_S: Final = 60
_TRIES: Final = 2
ONCE_MORE: Final = _TRIES - 1
"""How often a batch that was sent ahead is tried again."""

_late = Counter("mlplatform_worker_settlements_late_total", "Replies that Redis came to only after their deadline.")
server_clock = ServerClock()


_NO_DEADLINE: Final = b"%016d" % 0
"""In the place of a deadline, with as many digits, as the last argument of a packed command."""
_END: Final = len(_NO_DEADLINE) + len(b"\r\n")


@dataclass(frozen=True, slots=True)
class Settling:
    """The settling of all holds of a batch as it travels, but for the deadline, with which each command ends."""

    items: Sequence[ItemMessage]
    commands: tuple[bytes, ...]

    @classmethod
    def of(cls, items: Sequence[ItemMessage]) -> Settling:
        """That of a batch which is about to be computed."""
        packing = _Packing()
        _settle(packing, items, deadline_us=0)
        return cls(items, tuple(packing.packed))

    def ahead(self, ahead: Ahead, *, reply_to: str, reply: BatchReply) -> Sent | None:
        """Send it with the reply; None where that cannot be done at once."""
        deadline_us = server_clock.deadline_us(patience_s=settings.REDIS_TIMEOUT_S)
        end = b"%016d\r\n" % deadline_us
        packing = _Packing()
        packing.run(REPLY, (reply_to,), (encode_reply(reply), str(_REPLY_LIFETIME_S), _NO_DEADLINE))
        commands = (*self.commands, *packing.packed)
        return Sent(ahead, len(commands)) if ahead.send(end.join([*commands, b""])) else None


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent ahead: so many answers come of it, the last one that of the reply."""

    ahead: Ahead
    answers: int

    def is_done(self) -> bool:
        """Wait for the answers; whether the batch is settled and answered for certain."""
        try:
            *settled, replied = self.ahead.receive(self.answers)
        except redis.FAILURES:
            return False
        if isinstance(replied, Exception) or any(isinstance(each, Exception) for each in settled):
            return False
        pushed, server_us = replied
        server_clock.learn(server_us, anew=not pushed)
        if not pushed:
            _late.inc()
        return bool(pushed)


class _Packing(connection.Pipeline):
    """A pipeline that keeps its commands without the deadline that is their last argument."""

    def __init__(self) -> None:
        self.packed: list[bytes] = []

    def run(self, script: redis.Script, keys: Sequence[str | bytes], args: Sequence[str | bytes]) -> None:
        parts = ("EVALSHA", script.sha, str(len(keys)), *keys, *args[:-1], _NO_DEADLINE)
        self.packed.append(hiredis.pack_command(parts)[:-_END])  # type: ignore[arg-type]


def settle_and_reply(*, reply_to: str, reply: BatchReply, done: Sequence[ItemMessage], tries: int = _TRIES) -> bool:
    """Settle the holds of ``done``, then push the reply: a call that has an answer was charged. Raises what redis-py raises.

    Inputs without a hold are unbilled, and answered like the others.

    False when Redis was too slow, so that neither was done: the batch comes again if a call still waits for it. A
    failure is tried once more, because a repetition settles nothing twice and a second reply is passed over.
    """
    for attempt in range(1, tries + 1):
        deadline_us = server_clock.deadline_us(patience_s=settings.REDIS_TIMEOUT_S)
        pipe = connection.Pipeline(redis.state())
        _settle(pipe, done, deadline_us=deadline_us)
        pipe.run(REPLY, (reply_to,), (encode_reply(reply), str(_REPLY_LIFETIME_S), str(deadline_us)))
        try:
            pushed, server_us = pipe.execute()[-1]
        except redis.FAILURES:
            if attempt == tries:
                raise
            continue
        # Anew when it was late, for then the estimate may be wrong: the server's clock can have been set forward.
        server_clock.learn(server_us, anew=not pushed)
        if pushed:
            return True
        _late.inc()
    logger.warning("Redis came too late to batch %s; it was neither settled nor answered", reply.batch_id)
    return False


def _settle(pipe: connection.Pipeline, items: Sequence[ItemMessage], *, deadline_us: int) -> None:
    for (tenant_id, shard), hold_ids in _by_tenant(items).items():
        holds = [admission.Settlement(hold_id=hold_id) for hold_id in hold_ids]
        admission.settle_commands(pipe, tenant_id=tenant_id, shard=shard, holds=holds, deadline_us=deadline_us)


def _by_tenant(items: Sequence[ItemMessage]) -> dict[tuple[int, int], list[str]]:
    groups: dict[tuple[int, int], list[str]] = {}
    for item in items:
        if item.hold_id:
            groups.setdefault((item.tenant_id, item.shard), []).append(item.hold_id)
    return groups
