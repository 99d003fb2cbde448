"""Forms batches without a timer at low load, sends them, sends a lost one once more, and hands out the replies.

All of it belongs to the process's event loop, so nothing here needs a lock. What it decides stands beside it: when a batch
goes (``dispatcher.py``, ``policy.py``), how long it takes (``speed.py``), what is in it (``fair_queue.py``), who makes room in a
full queue (``room.py``), when a batch is lost (``losses.py``). A prediction is pure and settling is idempotent, so sending twice
charges once.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
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
from mlplatform.lib import clock, event_loop
from mlplatform.lib.errors import PlatformError

logger = logging.getLogger(__name__)

LOOK_S: Final = 1.0
LOSSES_S: Final = 0.25

Group = tuple[ModelRef, Sequence[WorkItem]]


class Batcher:
    """One for each process. :meth:`submit`, :meth:`expected_wait_s` and :meth:`stop` may be called from any thread, the rest
    from the loop's alone."""

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
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._looks: list[asyncio.TimerHandle] = []
        self._shown = 0
        self._stopping = False

    # --- Doors for every thread --------------------------------------------------------------------------------------

    def submit(self, groups: Sequence[Group]) -> None:
        """Queue the inputs of one call, grouped by model version; each is completed by ``succeed`` or ``fail``.

        All or none: raises OVERLOADED when they do not fit into the queue, and UNAVAILABLE after :meth:`stop`. Where the
        queue is full of another tenant's inputs, the newest of those fail as OVERLOADED to make room.
        """
        problem = event_loop.call(partial(self.submit_each, [groups]))[0]
        if problem is not None:
            raise problem

    def expected_wait_s(
        self, wanted: Sequence[tuple[ModelRef, int]], *, tenant_id: int, weight: int, doubt: float = 1.0
    ) -> float:
        """Seconds until the answers of inputs that come now: a version and the tokens of its inputs each. What comes before them
        counts ``doubt`` times.

        0 while nothing is known of a version's speed or no worker lives, for then it cannot be known; and while nothing is under
        way, so that a speed which was mistaken is measured anew.
        """
        return event_loop.call(partial(self._expected_wait_s, wanted, tenant_id, weight, doubt))

    def stop(self) -> None:
        """Take nothing more; whatever waits fails as unavailable."""
        event_loop.call(self._stop)

    # --- Into the queues, and out of them ----------------------------------------------------------------------------

    def submit_each(self, calls: Sequence[Sequence[Group]]) -> list[PlatformError | None]:
        """Queue the inputs of several calls, then send what may go; of each call its problem, or None."""
        if self._stopping:
            return [answers.stopping() for _ in calls]
        if self._loop is None:
            self._start()
        problems = [self._queue_call(groups) for groups in calls]
        self._send_next()
        return problems

    def _queue_call(self, groups: Sequence[Group]) -> PlatformError | None:
        newcomers = [item for _, items in groups for item in items]
        dropped = self._room.make(newcomers, self._pools.queues())
        if dropped is None:
            metrics.refused.labels("queue-full").inc(len(newcomers))
            return answers.overloaded()
        for item in dropped:
            metrics.refused.labels("made-room").inc()
            item.fail(answers.overloaded())
        now = clock.monotonic()
        for ref, items in groups:
            pool, lane = self._pools.open(ref)
            for item in items:
                pool.push(lane, item, now)
        return None

    def _send_next(self) -> None:
        """Send every batch that may go now; what time alone lets go later is left to a timer."""
        try:
            self._send_what_may_go()
        except Exception:
            # Without another try what gathers would be sent by chance.
            logger.exception("batches that gather could not be looked after")
            if self._loop is not None:
                self._loop.call_later(LOOK_S, self._send_next)

    def _send_what_may_go(self) -> None:
        totals = self._pools.totals
        if totals.inputs:
            now = clock.monotonic()
            for pool in self._pools:
                while totals.inputs and (batch := self._dispatcher.next_batch(pool, now)) is not None:
                    sent = dispatch(batch.lane, batch.items, batch.priority, reply_to=self._transport.reply_to)
                    self._pools.add(sent)
                    self._send(sent)
            if totals.inputs:
                self._set_timer(now)
        if totals.inputs != self._shown:
            self._shown = totals.inputs
            metrics.queued.set(self._shown)

    def _send(self, sent: InFlightBatch) -> None:
        try:
            failed = partial(self._not_sent, sent)
            self._transport.send(sent.message, pool=sent.lane.ref.pool, priority=sent.priority, failed=failed)
        except Exception as error:  # noqa: BLE001 - reported as the transport's later failures are
            event_loop.tell(self._not_sent, sent, error)

    def _not_sent(self, sent: InFlightBatch, error: Exception) -> None:
        """Whatever keeps the broker from taking the batch, the answer is the same: nothing was done or charged."""
        if sent.losses:
            # The first message may still be answered, so the batch is not over.
            logger.error("batch %s could not be sent once more", sent.message.batch_id, exc_info=error)
            return
        logger.error("a batch could not be sent", exc_info=error)
        self._finish(sent, reason="not-sent")

    def _set_timer(self, now: float) -> None:
        pauses = [self._dispatcher.until_next_s(pool, now) for pool in self._pools if pool.waits]
        pause = min((pause for pause in pauses if pause is not None), default=None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if pause is not None and self._loop is not None:
            self._timer = self._loop.call_later(pause, self._time_is_up)

    def _time_is_up(self) -> None:
        self._timer = None
        self._send_next()

    def _expected_wait_s(
        self, wanted: Sequence[tuple[ModelRef, int]], tenant_id: int, weight: int, doubt: float
    ) -> float:
        longest, now = 0.0, clock.monotonic()
        for ref, tokens in wanted:
            found = self._pools.find(ref)
            if found is None:
                continue
            pool, lane = found
            if not lane.speed.token_s or not pool.capacity.workers or not pool.in_flight:
                continue
            own_s = tokens * lane.speed.token_s
            wait = policy.expected_wait_s(
                own_s=own_s,
                tenant_id=tenant_id,
                weight=weight,
                backlogs=pool.backlogs(),
                in_flight_s=pool.in_flight_s(),
                workers=pool.capacity.workers,
                busy_for_others=pool.served.busy_for_others(tenant_id, now),
            )
            alone = own_s / pool.capacity.workers
            longest = max(longest, alone + (wait - alone) * doubt)
        return longest

    # --- The loop's clock --------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._transport.start(self.complete)
        self._loop = event_loop.get()
        self._looks = [each() for each in (self._look_at_workers, self._look_at_losses)]

    def _again(self, place: int, pause_s: float, look: Callable[[], object]) -> asyncio.TimerHandle:
        assert self._loop is not None  # noqa: S101 (started)
        handle = self._loop.call_later(pause_s, look)
        if self._looks:
            self._looks[place] = handle
        return handle

    def _look_at_workers(self) -> asyncio.TimerHandle:
        """Once a second; lanes that are out of use are dropped with it."""
        try:
            self._pools.forget_lanes(clock.monotonic())
            names = self._pools.names()
            if names:
                self._transport.look(names, self._learn)
        except Exception:
            # The next look must come all the same.
            logger.exception("the workers could not be looked at")
        return self._again(0, LOOK_S, self._look_at_workers)

    def _learn(self, found: dict[str, Capacity]) -> None:
        """What the workers say; empty where it could not be read."""
        for name, capacity in found.items():
            if (pool := self._pools.get(name)) is not None:
                pool.learn(capacity)
        # Also when nothing was learned: background work that has waited long enough goes by this look.
        self._send_next()

    def _look_at_losses(self) -> asyncio.TimerHandle:
        try:
            self._look_after_batches()
        except Exception:
            # The next look must come all the same.
            logger.exception("the batches on their way could not be looked after")
        return self._again(1, LOSSES_S, self._look_at_losses)

    def _stop(self) -> None:
        self._stopping = True
        for handle in (*self._looks, self._timer):
            if handle is not None:
                handle.cancel()
        if self._loop is not None:
            self._transport.stop()
        for item in self._pools.clear():
            item.fail(answers.stopping())

    # --- Back to the callers -----------------------------------------------------------------------------------------

    def complete(self, replies: Sequence[BatchReply]) -> None:
        """Workers have replied. First the next batches, for workers wait for them; then the callers, who are many."""
        ends = [end for reply in replies if (end := self._complete(reply)) is not None]
        self._send_next()
        for end in ends:
            end()

    def _complete(self, reply: BatchReply) -> Callable[[], None] | None:
        """The batch is over; what is left to do is to tell its callers."""
        sent = self._pools.sent(reply.batch_id)
        if sent is None:
            # A batch that was sent twice was answered before, or was given up. Then its worker was slow, not dead, and has
            # settled the holds: a call that is charged must be answered. The inputs that were sent one by one end as batches
            # for which no call waits.
            given_up = self._given_up.get(reply.batch_id)
            if given_up is not None and not reply.error and len(reply.results) == len(given_up):
                return partial(answers.give, given_up, reply)
            return None
        if reply.error == TOO_LATE:
            return self._skip(sent)
        now = clock.monotonic()
        if not sent.losses:
            sizes = sent.computed_sizes(reply)
            sent.lane.learn(took_s=now - sent.sent_at, compute_s=reply.compute_s, sizes=sizes)
        self._pools.serve(sent, reply.compute_s, now)
        self._pools.complete(sent, now)
        if reply.error or len(reply.results) != len(sent.items):
            return partial(self._failed, sent, reply)
        return partial(answers.give, sent.items, reply)

    @staticmethod
    def _failed(sent: InFlightBatch, reply: BatchReply) -> None:
        reason = reply.error or f"{len(reply.results)} results for {len(sent.items)} inputs"
        logger.error("batch %s failed on %s: %s", reply.batch_id, reply.worker, reason)
        if len(reply.results) == len(sent.items):
            answers.refuse(sent.items, reply)
        if reply.refusal:
            answers.refuse_all(sent.items, reply.refusal)
        answers.fail(sent.items, "worker-error")

    def _skip(self, sent: InFlightBatch) -> Callable[[], None] | None:
        """Its deadline had passed when a worker came to it. Of one that was sent twice the other copy may still be answered."""
        self._pools.complete(sent, clock.monotonic())
        if sent.losses > 0 and sent.priority is Priority.INTERACTIVE:
            self._given_up.add(sent)
            return None
        return partial(answers.fail, sent.items, "too-late")

    def _finish(self, sent: InFlightBatch, *, reason: str) -> None:
        """The batch ends without an answer: what may go now goes, and its inputs fail."""
        ended = self._pools.complete(sent, clock.monotonic())
        # Not from here: what cannot be sent either would call this again, once for each batch of a long queue.
        event_loop.tell(self._send_next)
        if ended:
            answers.fail(sent.items, reason)

    # --- What has no reply -------------------------------------------------------------------------------------------

    def _look_after_batches(self) -> None:
        now = clock.monotonic()
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
        self._send(sent)

    def _split(self, sent: InFlightBatch) -> None:
        """Send each of its inputs by itself."""
        metrics.split.inc()
        logger.warning("batch %s was lost twice; its inputs are sent one by one", sent.message.batch_id)
        alone = self._pools.split(sent, clock.monotonic(), reply_to=self._transport.reply_to)
        if alone:
            self._given_up.add(sent)
        for each in alone:
            self._send(each)
        # Callers leave meanwhile: once no call waits for any of it, its place is free.
        self._send_next()
