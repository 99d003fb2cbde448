"""The end of a batch on the worker's side: holds settled and the reply pushed, in one pipeline, or neither of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Final

from django.conf import settings
from prometheus_client import Counter

from billing import admission
from billing.admission import connection, scripts
from billing.admission.server_clock import ServerClock
from inference.batching.messages import BatchReply, ItemMessage, encode_reply
from mlplatform.lib import redis

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

_late = Counter("mlplatform_worker_settlements_late_total", "Replies that Redis came to only after their deadline.")
server_clock = ServerClock()


def settle_and_reply(*, reply_to: str, reply: BatchReply, done: Sequence[ItemMessage]) -> bool:
    """Settle the holds of ``done``, then push the reply: a call that has an answer was charged. Raises what redis-py raises.

    Inputs without a hold are unbilled, and answered like the others.

    False when Redis was too slow, so that neither was done: the batch comes again if a call still waits for it. A
    failure is tried once more, because a repetition settles nothing twice and a second reply is passed over.
    """
    for attempt in range(1, _TRIES + 1):
        deadline_us = server_clock.deadline_us(patience_s=settings.REDIS_TIMEOUT_S)
        pipe = connection.Pipeline(redis.state())
        for (tenant_id, shard), hold_ids in _by_tenant(done).items():
            holds = [admission.Settlement(hold_id=hold_id) for hold_id in hold_ids]
            admission.settle_commands(pipe, tenant_id=tenant_id, shard=shard, holds=holds, deadline_us=deadline_us)
        pipe.run(REPLY, (reply_to,), (encode_reply(reply), str(_REPLY_LIFETIME_S), str(deadline_us)))
        try:
            pushed, server_us = pipe.execute()[-1]
        except redis.FAILURES:
            if attempt == _TRIES:
                raise
            continue
        # Anew when it was late, for then the estimate may be wrong: the server's clock can have been set forward.
        server_clock.learn(server_us, anew=not pushed)
        if pushed:
            return True
        _late.inc()
    logger.warning("Redis came too late to batch %s; it was neither settled nor answered", reply.batch_id)
    return False


def _by_tenant(items: Sequence[ItemMessage]) -> dict[tuple[int, int], list[str]]:
    groups: dict[tuple[int, int], list[str]] = {}
    for item in items:
        if item.hold_id:
            groups.setdefault((item.tenant_id, item.shard), []).append(item.hold_id)
    return groups
