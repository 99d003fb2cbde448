"""Forms batches without a timer at low load, sends them, sends a lost one once more, and hands out the replies.

With free workers a batch goes at once, however small. While all are busy one more may be sent ahead for each: when it
is full, or when its oldest input has waited as long as a batch takes, so that a worker never idles and batches are
not cut small. A prediction is pure and settling is idempotent, so sending twice charges once.
"""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from inference.batching.fair_queue import FairQueue
from inference.batching.messages import BatchMessage, BatchReply, ItemMessage
from inference.batching.transport import Transport
from inference.batching.work import WorkItem
from inference.types import ModelRef
from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind, PlatformError, unavailable
from mlplatform.lib.ids import hex_id

logger = logging.getLogger(__name__)

_MIN_RESEND_S: Final = 2.0
_RESEND_FACTOR: Final = 4.0
_MIN_GIVE_UP_S: Final = 10.0  # a worker that was killed has come back and loaded its models by then
_COUNT_WORKERS_S: Final = 1.0
_SMOOTHING: Final = 0.2

_sizes = Histogram("mlplatform_batch_size_inputs", "Inputs a batch.", ["model"], buckets=(1, 2, 4, 8, 16, 32, 64, 128))
_seconds = Histogram("mlplatform_batch_seconds", "From sending a batch to its reply.", ["model"])
_resent = Counter("mlplatform_batches_resent_total", "Batches sent once more because no reply came in time.")
_failed = Counter("mlplatform_batches_failed_total", "Batches that ended without a result.", ["reason"])
_queued = Gauge("mlplatform_batch_queue_inputs", "Inputs that wait for a batch.", multiprocess_mode="livesum")


@dataclass(slots=True)
class _Lane:
    """The queue of one model version and what is on its way."""

    ref: ModelRef
    queue: FairQueue = field(default_factory=FairQueue)
    in_flight: int = 0
    batch_s: float = 0.0


@dataclass(slots=True, eq=False)
class _Flight:
    """A batch that was sent and not answered yet."""

    lane: _Lane
    items: list[WorkItem]
    message: BatchMessage
    sent_at: float
    resent_at: float | None = None


class Batcher:
    """One for each process; two daemon threads, one that sends and one that reads replies, start on first use."""

    def __init__(self, transport: Transport, *, per_worker: int, max_queued: int, max_delay_s: float = 0.0) -> None:
        self._transport = transport
        self._per_worker = per_worker
        self._max_queued = max_queued
        self._max_delay_s = max_delay_s
        self._changed = threading.Condition()
        self._lanes: dict[tuple[int, str], _Lane] = {}
        self._flights: dict[str, _Flight] = {}
        self._queued = 0
        self._workers = 1
        self._started = False
        self._stopping = False

    def submit(self, groups: Sequence[tuple[ModelRef, Sequence[WorkItem]]]) -> None:
        """Queue the inputs of one call, grouped by model version; each is completed by ``succeed`` or ``fail``.

        All or none: raises OVERLOADED when they do not fit into the queue, and UNAVAILABLE after :meth:`stop`.
        """
        with self._changed:
            if self._stopping:
                raise unavailable("The service is stopping; please try again.")
            if self._queued + sum(len(items) for _, items in groups) > self._max_queued:
                _failed.labels("queue-full").inc()
                raise PlatformError(
                    ErrorKind.OVERLOADED,
                    "More predictions wait than can be computed soon; nothing was charged.",
                    retry_after_s=1.0,
                )
            for ref, items in groups:
                lane = self._lanes.setdefault((ref.version_id, ref.digest), _Lane(ref))
                lane.ref = ref
                for item in items:
                    lane.queue.push(item)
            self._count_queued()
            self._start()
            self._changed.notify()

    def stop(self) -> None:
        """End both threads; whatever waits fails as unavailable."""
        with self._changed:
            self._stopping = True
            waiting = [item for lane in self._lanes.values() for item in lane.queue.pop(len(lane.queue))]
            waiting += [item for flight in self._flights.values() for item in flight.items]
            self._lanes.clear()
            self._flights.clear()
            self._changed.notify_all()
        for item in waiting:
            item.fail(unavailable("The service is stopping; please try again."))

    def _start(self) -> None:
        if not self._started:
            self._started = True
            threading.Thread(target=self._send_forever, name="batch-sender", daemon=True).start()
            threading.Thread(target=self._receive_forever, name="batch-receiver", daemon=True).start()

    def _send_forever(self) -> None:
        while True:
            with self._changed:
                if self._stopping:
                    return
                flight = self._next_flight()
                if flight is None:
                    self._changed.wait(self._pause_s())
                    continue
                self._flights[flight.message.batch_id] = flight
            self._send(flight)

    def _send(self, flight: _Flight) -> None:
        try:
            self._transport.send(flight.message)
        except Exception:
            # Whatever keeps the broker from taking the batch, the answer is the same: nothing was done or charged.
            logger.exception("a batch could not be sent")
            self._finish(flight.message.batch_id, reason="not-sent")

    def _receive_forever(self) -> None:
        workers, counted_at = self._workers, float("-inf")
        failing = False
        while not self._stopping:
            try:
                for reply in self._transport.receive():
                    self._complete(reply)
                failing = False
                if clock.monotonic() - counted_at >= _COUNT_WORKERS_S:
                    workers, counted_at = self._transport.worker_count(), clock.monotonic()
            except Exception:
                # Once, not five times a second: Redis may be away for an hour.
                if not failing and not self._stopping:
                    logger.warning("replies cannot be read now; trying again", exc_info=True)
                failing = True
                with self._changed:
                    self._changed.wait(0.2)
            with self._changed:
                self._workers = max(1, workers)
                self._changed.notify()
            self._look_after_flights()

    def _next_flight(self) -> _Flight | None:
        """The next batch that may go now, of the lane that waits longest. The lock is held."""
        ready = [lane for lane in self._lanes.values() if self._may_go(lane)]
        while ready:
            lane = min(ready, key=lambda lane: lane.queue.oldest_queued_at() or 0.0)
            items = lane.queue.pop(lane.ref.max_batch_size)
            self._count_queued()
            if items:
                lane.in_flight += 1
                return self._flight(lane, items)
            ready.remove(lane)
        return None

    def _may_go(self, lane: _Lane) -> bool:
        oldest = lane.queue.oldest_queued_at()
        if oldest is None or lane.in_flight >= self._per_worker * self._workers:
            return False
        if len(lane.queue) >= lane.ref.max_batch_size:
            return True
        waited = clock.monotonic() - oldest
        return waited >= (self._max_delay_s if lane.in_flight < self._workers else max(lane.batch_s, self._max_delay_s))

    def _pause_s(self) -> float | None:
        """How long the sender may sleep: until the oldest input of a lane that waits for time alone may go."""
        pauses = []
        now = clock.monotonic()
        for lane in self._lanes.values():
            oldest = lane.queue.oldest_queued_at()
            if oldest is not None and lane.in_flight < self._per_worker * self._workers:
                delay = self._max_delay_s if lane.in_flight < self._workers else max(lane.batch_s, self._max_delay_s)
                pauses.append(max(0.0005, oldest + delay - now))
        return min(pauses, default=None)

    def _flight(self, lane: _Lane, items: list[WorkItem]) -> _Flight:
        now = clock.monotonic()
        latest = max(item.deadline for item in items)
        message = BatchMessage(
            batch_id=hex_id(),
            version_id=lane.ref.version_id,
            digest=lane.ref.digest,
            reply_to=self._transport.reply_to,
            deadline=clock.now().timestamp() + latest - now,
            cache_ttl_s=lane.ref.cache_ttl_s,
            items=[
                ItemMessage(item.payload, item.cache_key, item.hold.hold_id, item.hold.tenant_id, item.hold.shard)
                for item in items
            ],
        )
        _sizes.labels(lane.ref.name).observe(len(items))
        return _Flight(lane=lane, items=items, message=message, sent_at=now)

    def _complete(self, reply: BatchReply) -> None:
        with self._changed:
            flight = self._flights.get(reply.batch_id)
            if flight is None:
                return  # The second answer of a batch that was sent twice.
            took = clock.monotonic() - flight.sent_at
            if flight.resent_at is None:
                lane = flight.lane
                lane.batch_s = took if not lane.batch_s else (1 - _SMOOTHING) * lane.batch_s + _SMOOTHING * took
                _seconds.labels(lane.ref.name).observe(took)
        if reply.error or len(reply.results) != len(flight.items):
            reason = reply.error or f"{len(reply.results)} results for {len(flight.items)} inputs"
            logger.error("batch %s failed on %s: %s", reply.batch_id, reply.worker, reason)
            self._finish(reply.batch_id, reason="worker-error")
            return
        for item, scores in zip(flight.items, reply.results, strict=True):
            if scores is None:
                item.fail(
                    unavailable(
                        "The model failed on this input; nothing was charged. Staff can see why in the worker's log."
                    )
                )
            else:
                item.succeed(scores)
        self._finish(reply.batch_id, reason="")

    def _look_after_flights(self) -> None:
        now = clock.monotonic()
        with self._changed:
            flights = list(self._flights.values())
            abandoned = [flight for flight in flights if all(item.abandoned for item in flight.items)]
            again = [flight for flight in flights if flight not in abandoned and self._is_lost(flight, now)]
            lost = [flight for flight in flights if flight not in abandoned and self._is_given_up(flight, now)]
            for flight in again:
                flight.resent_at = now
        for flight in abandoned:
            self._finish(flight.message.batch_id, reason="abandoned")
        for flight in lost:
            self._finish(flight.message.batch_id, reason="no-reply")
        for flight in again:
            _resent.inc()
            logger.warning("no reply for batch %s in time; it is sent once more", flight.message.batch_id)
            try:
                self._transport.send(flight.message)
            except Exception:
                # The first message may still be answered, so the batch is not over.
                logger.exception("batch %s could not be sent once more", flight.message.batch_id)

    @staticmethod
    def _is_lost(flight: _Flight, now: float) -> bool:
        patience = max(_MIN_RESEND_S, _RESEND_FACTOR * flight.lane.batch_s)
        return flight.resent_at is None and now - flight.sent_at > patience

    @staticmethod
    def _is_given_up(flight: _Flight, now: float) -> bool:
        patience = max(_MIN_GIVE_UP_S, _RESEND_FACTOR * flight.lane.batch_s)
        return flight.resent_at is not None and now - flight.resent_at > patience

    def _finish(self, batch_id: str, *, reason: str) -> None:
        with self._changed:
            flight = self._flights.pop(batch_id, None)
            if flight is not None:
                flight.lane.in_flight -= 1
                self._changed.notify()
        if flight is not None and reason:
            _failed.labels(reason).inc()
            for item in flight.items:
                item.fail(
                    unavailable("No worker could compute this prediction; nothing was charged. Please try again.")
                )

    def _count_queued(self) -> None:
        self._queued = sum(len(lane.queue) for lane in self._lanes.values())
        _queued.set(self._queued)
