"""The end of a batch on a thread of its own, so that the next one computes meanwhile: settle, reply, then the cache.

The order is the customer's: the answer leaves before anything is kept for others. A batch that was computed whole leaves from
the thread that computed it (``settlement.py``), and what becomes of it is heard on the other, so that no answer waits until one
thread has woken the other. The line is short, so that a worker whose Redis stalls waits instead of piling up answers.
"""

import logging
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from prometheus_client import Counter

from inference.batching.messages import BatchReply, ItemMessage
from inference.cache import store
from inference.types import TextLength
from inference.worker.settlement import ONCE_MORE, Sent, Settling, settle_and_reply
from mlplatform.lib import redis
from mlplatform.lib.background import start_watched
from mlplatform.lib.redis_ahead import Ahead

logger = logging.getLogger(__name__)

LINE: Final = 4
_FULL_S: Final = 0.002
_YIELD_S: Final = 0.00005
_PATIENCE_S: Final = 20.0

_lost = Counter(
    "mlplatform_worker_reports_lost_total", "Batches that were computed and could be neither settled nor answered."
)


@dataclass(frozen=True, slots=True)
class Report:
    """What is to be said of one batch: the reply, the inputs to settle, and what to keep under which key;
    ``lengths`` are those of inputs that were cut, by that key; ``settling`` is that of the inputs, where it was packed before."""

    reply_to: str
    reply: BatchReply
    done: Sequence[ItemMessage]
    entries: Mapping[bytes, bytes]
    cache_ttl_s: int
    lengths: Mapping[bytes, TextLength] = field(default_factory=dict)
    settling: Settling | None = None

    def send(self, ahead: Ahead) -> Sent | None:
        """Send it ahead, where all of the batch is settled; None where it was not sent."""
        if self.settling is None or len(self.done) < len(self.settling.items):
            return None
        return self.settling.ahead(ahead, reply_to=self.reply_to, reply=self.reply)

    def deliver(self, sent: Sent | None = None) -> None:
        """Settle and reply, or hear of what was sent ahead; then keep. Raises what Redis raises when the batch could not be
        settled; it comes again then."""
        try:
            if sent is None:
                done = settle_and_reply(reply_to=self.reply_to, reply=self.reply, done=self.done)
            else:
                done = sent.is_done() or settle_and_reply(
                    reply_to=self.reply_to, reply=self.reply, done=self.done, tries=ONCE_MORE
                )
            if not done:
                _lost.inc()
        except Exception:
            _lost.inc()
            raise
        finally:
            # Even then: a batch that is sent once more, or an equal input, finds the answer.
            store.keep(self.entries, ttl_s=self.cache_ttl_s, lengths=self.lengths)


class Reporter(Protocol):
    """What takes a report; the tests' one delivers it before the next line runs."""

    def hand_over(self, report: Report) -> None: ...

    def close(self) -> None: ...


class ReportingThread:
    """Delivers reports in the order in which they were handed over, but that what is sent ahead may overtake what could not be.
    The thread starts with the first."""

    def __init__(self) -> None:
        self._line: queue.SimpleQueue[tuple[Report, Sent | None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._ahead: Ahead | None = None
        # Answers come in the order in which was sent, which must be that of the line.
        self._handing = threading.Lock()

    def hand_over(self, report: Report) -> None:
        """Returns at once, unless four batches wait already."""
        while self._line.qsize() >= LINE:
            time.sleep(_FULL_S)
        with self._handing:
            if self._thread is None:
                self._thread = start_watched(self._run, name="batch-reports")
            sent = self._send(report)
            self._line.put((report, sent))
        if sent is None:
            # Lets the other thread have the interpreter now. Else the answer would leave only when this one next waits for
            # something, after all that Celery does at the end of a task.
            time.sleep(_YIELD_S)

    def close(self) -> None:
        """Deliver what was handed over and end the thread: the last thing of a worker that stops in good order."""
        if self._thread is not None:
            self._line.put(None)
            self._thread.join(_PATIENCE_S)
            self._thread = None

    def _send(self, report: Report) -> Sent | None:
        ahead = self._ahead
        try:
            return report.send(ahead) if ahead is not None else None
        except Exception:
            logger.exception("batch %s could not be sent ahead", report.reply.batch_id)
            return None

    def _run(self) -> None:
        while (handed := self._line.get()) is not None:
            report, sent = handed
            try:
                report.deliver(sent)
            except Exception:
                logger.exception("batch %s was computed, but could not be answered", report.reply.batch_id)
            else:
                self._open()
        if self._ahead is not None:
            self._ahead.close()

    def _open(self) -> None:
        """Have the next batch sent ahead. On this thread, which no batch waits for."""
        if self._ahead is not None and self._ahead.is_open:
            return
        try:
            self._ahead = Ahead(redis.state())
        except redis.FAILURES:
            self._ahead = None
