"""Forms batches without a timer at low load, sends them, sends a lost one once more, and hands out the replies.

Here are the threads and the lock; what they decide stands beside it, without either: when a batch goes (``dispatcher.py``,
``policy.py``), what is in it (``fair_queue.py``), who makes room in a full queue (``room.py``), when a batch is lost
(``losses.py``). An input that a worker is free for is sent by the thread that brought it. A prediction is pure and settling is
idempotent, so sending twice charges once.
"""

import logging
import threading
from collections.abc import Sequence
from typing import Final

from inference.batching import answers, metrics, policy
from inference.batching.dispatcher import Dispatcher
from inference.batching.lanes import InFlightBatch, dispatch
from inference.batching.losses import GivenUp, Step, next_step
from inference.batching.messages import TOO_LATE, BatchReply
from inference.batching.pools import Pools
from inference.batching.room import Room
from inference.batching.transport import Transport
from inference.batching.work import WorkItem
from inference.fleet.workers import Capacity
from inference.types import ModelRef, Priority
from mlplatform.lib import clock
from mlplatform.lib.background import start_watched

logger = logging.getLogger(__name__)

_LOOK_S: Final = 1.0


class Batcher:
    """One for each process; two daemon threads, one that keeps time and one that reads replies, start on first use."""

    def __init__(
        self,
        transport: Transport,
        *,
        per_worker: int,
        max_queued: int,
        max_queued_bytes: int = 1 << 30,
        shared_batch_s: float = 0.0,
    ) -> None:
        self._transport = transport
        self._dispatcher = Dispatcher(per_worker, shared_batch_s)
        self._pools = Pools()
        self._room = Room(self._pools.totals, max_inputs=max_queued, max_bytes=max_queued_bytes)
        self._given_up = GivenUp()
        # No callback of ours runs while it is held: a call back into the batcher would wait for itself.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._shown = 0
        self._idle_threads = [("batch-receiver", self._receive_forever), ("batch-timer", self._keep_time)]
        self._stopping = threading.Event()

    def submit(self, groups: Sequence[tuple[ModelRef, Sequence[WorkItem]]]) -> None:
        """Queue the inputs of one call, grouped by model version; each is completed by ``succeed`` or ``fail``.

        All or none: raises OVERLOADED when they do not fit into the queue, and UNAVAILABLE after :meth:`stop`. Where the
        queue is full of another tenant's inputs, the newest of those fail as OVERLOADED to make room.
        """
        newcomers = [item for _, items in groups for item in items]
        in_flight: list[InFlightBatch] = []
        with self._lock:
            if self._stopping.is_set():
                raise answers.stopping()
            self._start()
            dropped = self._room.make(newcomers, self._pools.queues())
            if dropped is not None:
                self._queue(groups)
                in_flight = self._next_batches()
        if dropped is None:
            metrics.refused.labels("queue-full").inc(len(newcomers))
            raise answers.overloaded()
        for item in dropped:
            metrics.refused.labels("made-room").inc()
            item.fail(answers.overloaded())
        self._send(in_flight)

    def expected_wait_s(self, wanted: Sequence[tuple[ModelRef, int]], *, tenant_id: int, weight: int) -> float:
        """Seconds until the answers of inputs that come now: a version and the tokens of its inputs each.

        0 while nothing is known of a version's speed or no worker lives, for then nobody can tell; and while nothing is under
        way, so that a speed which was mistaken is measured anew.
        """
        longest = 0.0
        with self._lock:
            for ref, tokens in wanted:
                found = self._pools.find(ref)
                if found is None:
                    continue
                pool, lane = found
                if not lane.token_s or not pool.capacity.workers or not pool.in_flight:
                    continue
                wait = policy.expected_wait_s(
                    own_s=tokens * lane.token_s,
                    tenant_id=tenant_id,
                    weight=weight,
                    backlogs=pool.backlogs(),
                    in_flight_s=pool.in_flight_s(),
                    workers=pool.capacity.workers,
                )
                longest = max(longest, wait)
        return longest

    def stop(self) -> None:
        """End both threads; whatever waits fails as unavailable."""
        with self._lock:
            self._stopping.set()
            waiting = self._pools.clear()
            self._changed.notify_all()
        for item in waiting:
            item.fail(answers.stopping())

    # --- Into the queues, and out of them; the lock is held, but for sending ------------------------------------------

    def _queue(self, groups: Sequence[tuple[ModelRef, Sequence[WorkItem]]]) -> None:
        now = clock.monotonic()
        for ref, items in groups:
            pool, lane = self._pools.open(ref)
            for item in items:
                pool.push(lane, item, now)

    def _next_batches(self) -> list[InFlightBatch]:
        """Every batch that may go now. What time alone lets go later is left to the timer's thread."""
        in_flight: list[InFlightBatch] = []
        totals = self._pools.totals
        if totals.inputs:
            now = clock.monotonic()
            for pool in self._pools:
                while totals.inputs and (batch := self._dispatcher.next_batch(pool, now)) is not None:
                    sent = dispatch(batch.lane, batch.items, batch.priority, reply_to=self._transport.reply_to)
                    self._pools.add(sent)
                    in_flight.append(sent)
                if totals.inputs and self._dispatcher.gathers(pool, now):
                    self._changed.notify()
        if totals.inputs != self._shown:
            self._shown = totals.inputs
            metrics.queued.set(self._shown)
        return in_flight

    def _send(self, in_flight: Sequence[InFlightBatch]) -> None:
        for sent in in_flight:
            if self._stopping.is_set():
                return  # Its inputs have failed; a worker would charge for them.
            try:
                self._transport.send(sent.message, pool=sent.lane.ref.pool, priority=sent.priority)
            except Exception:
                # Whatever keeps the broker from taking the batch, the answer is the same: nothing was done or charged.
                logger.exception("a batch could not be sent")
                with self._lock:
                    ended = self._pools.complete(sent)
                    # What may go now is left to the timer's thread: this one has a caller, or replies, to look after.
                    self._changed.notify()
                if ended:
                    answers.fail(sent.items, "not-sent")

    # --- The two threads ---------------------------------------------------------------------------------------------

    def _start(self) -> None:
        while self._idle_threads:
            # One that the system refuses to start is started by the next call; without both nothing may be queued.
            name, work = self._idle_threads[-1]
            start_watched(work, name=name)
            self._idle_threads.pop()

    def _keep_time(self) -> None:
        """Sends what time alone lets go: batches that gather for a while, or until the workers' next one is due."""
        while not self._stopping.is_set():
            try:
                with self._lock:
                    in_flight = self._next_batches()
                    if not in_flight and not self._stopping.is_set():
                        self._changed.wait(self._until_next_s())
                        continue
                self._send(in_flight)
            except Exception:
                # Nobody starts this thread again, and without it what gathers is sent by chance.
                logger.exception("batches that gather could not be looked after")
                self._stopping.wait(_LOOK_S)

    def _until_next_s(self) -> float | None:
        now = clock.monotonic()
        pauses = [self._dispatcher.until_next_s(pool, now) for pool in self._pools]
        return min((pause for pause in pauses if pause is not None), default=None)

    def _receive_forever(self) -> None:
        looked_at = float("-inf")
        failing = False
        while not self._stopping.is_set():
            try:
                for reply in self._transport.receive():
                    self._complete(reply)
                if clock.monotonic() - looked_at >= _LOOK_S:
                    self._look_at_workers()
                    looked_at = clock.monotonic()
                failing = False
            except Exception:
                # Once, not five times a second: Redis may be away for an hour.
                if not failing and not self._stopping.is_set():
                    logger.warning("replies cannot be read now; trying again", exc_info=True)
                failing = True
                self._stopping.wait(0.2)
            try:
                self._look_after_flights()
            except Exception:
                # Nobody starts this thread again, and without it no reply is read.
                logger.exception("the batches on their way could not be looked after")

    def _look_at_workers(self) -> None:
        """Once a second; lanes that nobody uses any more go with it."""
        with self._lock:
            self._pools.forget_lanes(clock.monotonic())
            names = self._pools.names()
        found: dict[str, Capacity] = {}
        try:
            found = {name: self._transport.capacity(name) for name in names}
        finally:
            with self._lock:
                for name, capacity in found.items():
                    if (pool := self._pools.get(name)) is not None:
                        pool.learn(capacity)
                # Also when nothing was learned: background work that has waited long enough goes by this look.
                self._changed.notify()

    # --- Back to the callers -----------------------------------------------------------------------------------------

    def _complete(self, reply: BatchReply) -> None:
        with self._lock:
            sent = self._pools.sent(reply.batch_id)
            given_up = self._given_up.get(reply.batch_id)
            if sent is not None and not sent.losses and reply.error != TOO_LATE:
                took_s = clock.monotonic() - sent.sent_at
                sent.lane.learn(took_s=took_s, compute_s=reply.compute_s, tokens=sent.computed_tokens(reply))
        if sent is None:
            # A batch that was sent twice was answered before, or was given up. Then its worker was slow, not dead, and has
            # settled the holds: who is charged must be answered. The inputs that were sent one by one end as batches for
            # which nobody waits.
            if given_up is not None and not reply.error and len(reply.results) == len(given_up):
                answers.give(given_up, reply)
            return
        if reply.error == TOO_LATE:
            self._skip(sent)
            return
        if reply.error or len(reply.results) != len(sent.items):
            reason = reply.error or f"{len(reply.results)} results for {len(sent.items)} inputs"
            logger.error("batch %s failed on %s: %s", reply.batch_id, reply.worker, reason)
            if len(reply.results) == len(sent.items):
                answers.refuse(sent.items, reply)
            if reply.refusal:
                answers.refuse_all(sent.items, reply.refusal)
            self._finish(sent, reason="worker-error")
            return
        # First the next batch, for a worker waits for it; then the callers, who are many.
        self._finish(sent, reason="")
        answers.give(sent.items, reply)

    def _skip(self, sent: InFlightBatch) -> None:
        """Its deadline had passed when a worker came to it. Of one that was sent twice the other copy may still be answered."""
        callers_wait = sent.losses > 0 and sent.priority is Priority.INTERACTIVE
        if callers_wait:
            with self._lock:
                self._given_up.add(sent)
        self._finish(sent, reason="" if callers_wait else "too-late")

    def _finish(self, sent: InFlightBatch, *, reason: str) -> None:
        """The batch is complete: what may go now goes, and with a ``reason`` its inputs fail."""
        with self._lock:
            ended = self._pools.complete(sent)
            in_flight = self._next_batches()
        if ended and reason:
            answers.fail(sent.items, reason)
        self._send(in_flight)

    # --- What has no reply -------------------------------------------------------------------------------------------

    def _look_after_flights(self) -> None:
        now = clock.monotonic()
        with self._lock:
            self._given_up.forget()
            steps = [
                (sent, next_step(sent, broker_wait_s=pool.broker_wait_s(), now=now))
                for pool in self._pools
                for sent in pool.in_flight.values()
            ]
        for sent, step in steps:
            match step:
                case Step.FORGET:
                    self._finish(sent, reason="abandoned")
                case Step.SEND_AGAIN:
                    self._send_again(sent, now)
                case Step.SPLIT:
                    self._split(sent)
                case Step.LOST:
                    self._finish(sent, reason="no-reply")

    def _send_again(self, sent: InFlightBatch, now: float) -> None:
        sent.losses, sent.sent_at = 1, now
        metrics.resent.inc()
        logger.warning("no reply for batch %s in time; it is sent once more", sent.message.batch_id)
        try:
            self._transport.send(sent.message, pool=sent.lane.ref.pool, priority=sent.priority)
        except Exception:
            # The first message may still be answered, so the batch is not over.
            logger.exception("batch %s could not be sent once more", sent.message.batch_id)

    def _split(self, sent: InFlightBatch) -> None:
        """Send each of its inputs by itself."""
        metrics.split.inc()
        logger.warning("batch %s was lost twice; its inputs are sent one by one", sent.message.batch_id)
        with self._lock:
            alone = self._pools.split(sent, reply_to=self._transport.reply_to)
            if alone:
                self._given_up.add(sent)
            # Callers leave meanwhile: with nobody left to wait for it, its place is free.
            in_flight = alone or self._next_batches()
        self._send(in_flight)
