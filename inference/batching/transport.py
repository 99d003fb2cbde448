"""How a batch leaves this process and how replies come back: one Celery message out, one Redis list in.

No result backend: Celery's takes 4.5 ms of CPU a call and its pub/sub connection is not safe between threads.
"""

import logging
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import msgspec
from django.conf import settings

from inference.batching.messages import BatchMessage, BatchReply, decode_reply, encode_batch
from inference.fleet import broker, workers
from inference.fleet.workers import Capacity
from inference.types import Priority
from mlplatform.lib import event_loop
from mlplatform.lib.ids import hex_id
from mlplatform.lib.redis_link import Answers, Link, link_to, packed

logger = logging.getLogger(__name__)

TASK = "inference.run_batch"
_BLOCK_S: Final = 1
_AGAIN_S: Final = 0.2
_REPLIES_AT_ONCE: Final = 64


class Transport(Protocol):
    """What the batcher needs of the outside. Every method belongs to the loop's thread, and calls back on it."""

    @property
    def reply_to(self) -> str: ...

    def start(self, deliver: Callable[[Sequence[BatchReply]], None]) -> None:
        """Deliver the replies of workers until :meth:`stop`."""

    def stop(self) -> None:
        """Deliver nothing more."""

    def send(
        self, message: BatchMessage, *, pool: str, priority: Priority, failed: Callable[[Exception], None]
    ) -> None:
        """Hand a batch to a worker of the pool; what keeps it from being handed over is raised, or comes to ``failed`` later."""

    def look(self, pools: Sequence[str], learned: Callable[[dict[str, Capacity]], None]) -> None:
        """What the workers of each pool can do now; nothing of it where it cannot be read."""


class CeleryTransport:
    """Batches through the broker; replies through a list that only this process reads."""

    def __init__(self) -> None:
        self.reply_to = f"reply:{socket.gethostname()}:{os.getpid()}:{hex_id()[-8:]}"
        self._deliver: Callable[[Sequence[BatchReply]], None] | None = None
        # A blocking read must share neither the state connection nor its short time-out.
        self._replies: Link | None = None
        self._failing = False

    def start(self, deliver: Callable[[Sequence[BatchReply]], None]) -> None:
        self._deliver = deliver
        self._replies = Link(settings.REDIS_URL, patience_s=_BLOCK_S + 4)
        self._read()

    def stop(self) -> None:
        self._deliver = None
        if self._replies is not None:
            self._replies.close()

    def send(
        self, message: BatchMessage, *, pool: str, priority: Priority, failed: Callable[[Exception], None]
    ) -> None:
        argument = encode_batch(message)
        if not broker.is_redis():
            task = {"task": TASK, "argument": argument, "queue": pool, "task_id": message.batch_id}
            event_loop.in_thread(lambda: broker.publish(**task, priority=priority), _of_failure(failed))
            return
        command = broker.command(task=TASK, argument=argument, queue=pool, task_id=message.batch_id, priority=priority)
        link_to(settings.CELERY_BROKER_URL, patience_s=settings.REDIS_TIMEOUT_S).ask(command, _of_failure(failed))

    def look(self, pools: Sequence[str], learned: Callable[[dict[str, Capacity]], None]) -> None:
        def found(answer: dict[str, Capacity] | Exception) -> None:
            # A failure of Redis is no news here: admission tells of it.
            learned({} if isinstance(answer, Exception) else answer)

        event_loop.in_thread(lambda: {name: workers.capacity(name) for name in pools}, found)

    def _read(self) -> None:
        # All that wait in one round trip, for callers wait for it.
        if self._replies is not None:
            command = packed("BLMPOP", str(_BLOCK_S), "1", self.reply_to, "LEFT", "COUNT", str(_REPLIES_AT_ONCE))
            self._replies.ask(command, self._took)

    def _took(self, answers: Answers | Exception) -> None:
        if self._deliver is None:
            return
        found: Any = answers if isinstance(answers, Exception) else answers[0]
        if isinstance(found, Exception):
            # Once, not five times a second: Redis may be away for an hour.
            if not self._failing:
                logger.warning("replies cannot be read now; trying again", exc_info=found)
            self._failing = True
            event_loop.get().call_later(_AGAIN_S, self._read)
            return
        self._failing = False
        # The next question first: it travels while these replies are handed out.
        self._read()
        if found:
            replies = [reply for body in found[1] if (reply := _decoded(body)) is not None]
            self._deliver(replies)


def _decoded(body: bytes) -> BatchReply | None:
    """The reply, or None for what another release wrote: its batch is sent again, and the others of the list are answered."""
    try:
        return decode_reply(body)
    except msgspec.MsgspecError:
        logger.exception("a reply cannot be read")
        return None


def _of_failure(failed: Callable[[Exception], None]) -> Callable[[Any], None]:
    """Tells only of failures, whether the server gave one for an answer or no answer at all."""

    def done(answer: Any) -> None:
        problem = answer[0] if isinstance(answer, list) else answer
        if isinstance(problem, Exception):
            failed(problem)

    return done
