"""The end of a batch on a thread of its own, so that the next one computes meanwhile: settle, reply, then the cache.

The order is the customer's: the answer leaves before anything is kept for others. The line is short, so that a worker whose
Redis stalls waits instead of piling up answers.
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
from inference.worker.settlement import settle_and_reply
from mlplatform.lib.background import start_watched

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
    ``lengths`` are those of inputs that were cut, by that key."""

    reply_to: str
    reply: BatchReply
    done: Sequence[ItemMessage]
    entries: Mapping[bytes, bytes]
    cache_ttl_s: int
    lengths: Mapping[bytes, TextLength] = field(default_factory=dict)

    def deliver(self) -> None:
        """Settle and reply, then keep. Raises what Redis raises when the batch could not be settled; it comes again then."""
        try:
            if not settle_and_reply(reply_to=self.reply_to, reply=self.reply, done=self.done):
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
    """Delivers reports in the order in which they were handed over. The thread starts with the first."""

    def __init__(self) -> None:
        self._line: queue.SimpleQueue[Report | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def hand_over(self, report: Report) -> None:
        """Returns at once, unless four batches wait already."""
        if self._thread is None:
            self._thread = start_watched(self._run, name="batch-reports")
        while self._line.qsize() >= LINE:
            time.sleep(_FULL_S)
        self._line.put(report)
        # Lets the other thread have the interpreter now. Else the answer would leave only when this one next waits for
        # something, after all that Celery does at the end of a task.
        time.sleep(_YIELD_S)

    def close(self) -> None:
        """Deliver what was handed over and end the thread: the last thing of a worker that stops in good order."""
        if self._thread is not None:
            self._line.put(None)
            self._thread.join(_PATIENCE_S)
            self._thread = None

    def _run(self) -> None:
        while (report := self._line.get()) is not None:
            try:
                report.deliver()
            except Exception:
                logger.exception("batch %s was computed, but could not be answered", report.reply.batch_id)
