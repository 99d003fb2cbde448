"""Forms batches without a timer at low load, sends them, sends a lost one once more, and hands out the replies.

When a batch goes and what is in it stands in ``policy.py``. An input that a worker is free for is sent by the thread that
brought it. A prediction is pure and settling is idempotent, so sending twice charges once.
"""

import logging
import threading
from collections.abc import Iterator, Sequence
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from inference.batching import policy
from inference.batching.fair_queue import FairQueue
from inference.batching.lanes import Flight, Lane, PoolState
from inference.batching.messages import TOO_LATE, BatchMessage, BatchReply, ItemMessage
from inference.batching.policy import Draft
from inference.batching.transport import Transport
from inference.batching.work import WorkItem
from inference.types import ModelRef, Priority
from inference.workers import Capacity
from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind, PlatformError, unavailable
from mlplatform.lib.ids import hex_id

logger = logging.getLogger(__name__)

_MIN_RESEND_S: Final = 2.0
_RESEND_FACTOR: Final = 4.0
_MIN_GIVE_UP_S: Final = 10.0  # a worker that was killed has come back and loaded its models by then
_LOOK_S: Final = 1.0
_BACKGROUND_PATIENCE_S: Final = 10.0

_sizes = Histogram("mlplatform_batch_size_inputs", "Inputs a batch.", ["model"], buckets=(1, 2, 4, 8, 16, 32, 64, 128))
_seconds = Histogram("mlplatform_batch_seconds", "From sending a batch to its reply.", ["model"])
_resent = Counter("mlplatform_batches_resent_total", "Batches sent once more because no reply came in time.")
_split = Counter(
    "mlplatform_batches_split_total", "Batches that were lost twice, so that each input was sent by itself."
)
_failed = Counter("mlplatform_batches_failed_total", "Batches that ended without a result.", ["reason"])
_queued = Gauge("mlplatform_batch_queue_inputs", "Inputs that wait for a batch.", multiprocess_mode="livesum")
_refused = Counter("mlplatform_inputs_refused_total", "Inputs that were refused because too much waits.", ["reason"])


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
        self._per_worker = per_worker
        self._max_queued = max_queued
        self._max_queued_bytes = max_queued_bytes
        self._shared_batch_s = shared_batch_s
        self._changed = threading.Condition()
        self._pools: dict[str, PoolState] = {}
        self._given_up: dict[str, list[WorkItem]] = {}
        """The inputs of batches that are not waited for any more (sent one by one, or too late), for a late reply."""
        self._queued = 0
        self._queued_bytes = 0
        self._started = False
        self._stopping = False

    def submit(self, groups: Sequence[tuple[ModelRef, Sequence[WorkItem]]]) -> None:
        """Queue the inputs of one call, grouped by model version; each is completed by ``succeed`` or ``fail``.

        All or none: raises OVERLOADED when they do not fit into the queue, and UNAVAILABLE after :meth:`stop`. Where the
        queue is full of another tenant's inputs, the newest of those fail as OVERLOADED to make room.
        """
        newcomers = [item for _, items in groups for item in items]
        flights: list[Flight] = []
        with self._changed:
            if self._stopping:
                raise unavailable("The service is stopping; please try again.")
            dropped = self._make_room(newcomers)
            fits = self._fits(newcomers)
            if fits:
                flights = self._queue(groups)
        for item in dropped:
            item.fail(_overloaded())
        if not fits:
            raise _overloaded()
        for flight in flights:
            self._send(flight)

    def expected_wait_s(self, wanted: Sequence[tuple[ModelRef, int]], *, tenant_id: int, weight: int) -> float:
        """Seconds until the answers of inputs that come now: a version and the tokens of its inputs each.

        0 while nothing is known of a version's speed or no worker lives, for then nobody can tell; and while nothing is under
        way, so that a speed which was mistaken is measured anew.
        """
        longest = 0.0
        with self._changed:
            for ref, tokens in wanted:
                pool, lane = self._lane(ref)
                if not lane.token_s or not pool.capacity.workers or not pool.flights:
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
        with self._changed:
            self._stopping = True
            waiting = [item for _, queue in self._queues() for item in queue.clear()]
            waiting += [item for pool in self._pools.values() for f in pool.flights.values() for item in f.items]
            self._pools.clear()
            self._changed.notify_all()
        for item in waiting:
            item.fail(unavailable("The service is stopping; please try again."))

    # --- Into the queues ---------------------------------------------------------------------------------------------

    def _queue(self, groups: Sequence[tuple[ModelRef, Sequence[WorkItem]]]) -> list[Flight]:
        """Queue the inputs, and give the batches that may go now. The lock is held."""
        now = clock.monotonic()
        for ref, items in groups:
            pool, lane = self._lane(ref)
            for item in items:
                lane.queues[item.priority].push(item)
                if item.priority is Priority.INTERACTIVE:
                    pool.seen[item.hold.tenant_id] = now
        self._count_queued()
        self._start()
        flights = self._next_flights()
        if self._queued:
            self._changed.notify()
        return flights

    def _lane(self, ref: ModelRef) -> tuple[PoolState, Lane]:
        pool = self._pools.get(ref.pool)
        if pool is None:
            pool = self._pools[ref.pool] = PoolState()
        lane = pool.lanes.get((ref.version_id, ref.digest))
        if lane is None:
            lane = pool.lanes[ref.version_id, ref.digest] = Lane(ref)
        lane.ref = ref
        return pool, lane

    def _make_room(self, items: Sequence[WorkItem]) -> list[WorkItem]:
        """Drop what nobody waits for, then background work, then the newest inputs of whoever has more than the newcomer.

        Raises OVERLOADED, and drops nothing that somebody waits for, where that does not make enough room.
        """
        if self._fits(items):
            return []
        for _, queue in self._queues():
            queue.purge()
        self._count_queued()
        if self._fits(items):
            return []
        own = items[0].hold.tenant_id
        mine = self._shares(Priority.INTERACTIVE).get(own, 0.0)
        mine += self._share(len(items), sum(len(item.payload) for item in items), items[0].weight)
        dropped: list[tuple[FairQueue, WorkItem]] = []
        if items[0].priority is not Priority.BACKGROUND:
            while not self._fits(items) and (one := self._drop_one(own, mine)) is not None:
                dropped.append(one)
                self._count_queued()
        if not self._fits(items):
            for queue, item in reversed(dropped):
                queue.push(item)
            self._count_queued()
            _refused.labels("queue-full").inc(len(items))
            raise _overloaded()
        _refused.labels("made-room").inc(len(dropped))
        return [item for _, item in dropped]

    def _drop_one(self, own: int, mine: float) -> tuple[FairQueue, WorkItem] | None:
        """The newest background input of whoever has most of them, else the newest input of another tenant, whose share is
        larger than ``mine``; and the queue in which it was."""
        for priority in reversed(Priority):
            shares = self._shares(priority)
            if priority is Priority.INTERACTIVE:
                shares = {each: share for each, share in shares.items() if each != own and share > mine}
            if not shares:
                continue
            victim = max(shares, key=lambda tenant_id: shares[tenant_id])
            queues = [queue for each, queue in self._queues() if each is priority and victim in queue.counts()]
            queue = max(queues, key=lambda queue: self._share(*queue.counts()[victim]))
            item = queue.drop_newest(victim)
            return None if item is None else (queue, item)
        return None

    def _share(self, inputs: int, size: int, weight: int) -> float:
        """How much of what a process may queue that is, by number or by bytes, whichever is more, over the tenant's weight."""
        return max(inputs / max(1, self._max_queued), size / max(1, self._max_queued_bytes)) / max(1, weight)

    def _fits(self, items: Sequence[WorkItem]) -> bool:
        size = sum(len(item.payload) for item in items)
        return not items or (
            self._queued + len(items) <= self._max_queued and self._queued_bytes + size <= self._max_queued_bytes
        )

    def _shares(self, priority: Priority) -> dict[int, float]:
        """What each tenant has waiting of a priority, as :meth:`_share` measures it."""
        waiting: dict[int, tuple[int, int, int]] = {}
        for each, queue in self._queues():
            if each is priority:
                for tenant_id, (inputs, size, weight) in queue.counts().items():
                    before = waiting.get(tenant_id, (0, 0, 0))
                    waiting[tenant_id] = (before[0] + inputs, before[1] + size, weight)
        return {tenant_id: self._share(*what) for tenant_id, what in waiting.items()}

    def _queues(self) -> Iterator[tuple[Priority, FairQueue]]:
        for pool in self._pools.values():
            for lane in pool.lanes.values():
                yield from lane.queues.items()

    def _count_queued(self) -> None:
        queues = [queue for _, queue in self._queues()]
        self._queued = sum(len(queue) for queue in queues)
        self._queued_bytes = sum(queue.bytes for queue in queues)
        _queued.set(self._queued)

    # --- Out of the queues -------------------------------------------------------------------------------------------

    def _next_flights(self) -> list[Flight]:
        """Every batch that may go now. The lock is held."""
        flights: list[Flight] = []
        if self._stopping:
            return flights
        for pool in self._pools.values():
            while (flight := self._next_flight(pool)) is not None:
                pool.flights[flight.message.batch_id] = flight
                flights.append(flight)
        if flights:
            self._count_queued()
        return flights

    def _next_flight(self, pool: PoolState) -> Flight | None:
        now = clock.monotonic()
        state = pool.policy(self._per_worker, now)
        for priority in Priority:
            if priority is Priority.BACKGROUND and not self._may_background(pool, now):
                break
            for key, lane in pool.in_turn(priority):
                if policy.pause_s(lane.waiting(priority, now), lane.bounds, state) != 0:
                    continue
                limit_s = self._shared_batch_s if pool.competing(now) else 0.0
                items = lane.queues[priority].fill(Draft(lane.bounds, lane.token_s, limit_s))
                if items:
                    pool.end_turn(key)
                    return self._flight(lane, items, priority)
        return None

    @staticmethod
    def _may_background(pool: PoolState, now: float) -> bool:
        """One batch a worker at most, and only while nobody waits who is waited for; or when it has waited too long."""
        if pool.background_flights() >= max(1, pool.capacity.workers):
            return False
        if not any(True for _ in pool.in_turn(Priority.INTERACTIVE)):
            return True
        waiting = [lane.waiting(Priority.BACKGROUND, now) for _, lane in pool.in_turn(Priority.BACKGROUND)]
        return any(each.oldest_s >= _BACKGROUND_PATIENCE_S for each in waiting)

    def _flight(self, lane: Lane, items: list[WorkItem], priority: Priority, losses: int = 0) -> Flight:
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
        return Flight(lane, items, message, priority, sent_at=now, losses=losses)

    def _send(self, flight: Flight) -> None:
        try:
            self._transport.send(flight.message, pool=flight.lane.ref.pool, priority=flight.priority)
        except Exception:
            # Whatever keeps the broker from taking the batch, the answer is the same: nothing was done or charged.
            logger.exception("a batch could not be sent")
            # What may go now is left to the timer's thread: this one has a caller, or replies, to look after.
            self._end(flight, reason="not-sent")

    # --- The two threads ---------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if not self._started:
            self._started = True
            threading.Thread(target=self._keep_time, name="batch-timer", daemon=True).start()
            threading.Thread(target=self._receive_forever, name="batch-receiver", daemon=True).start()

    def _keep_time(self) -> None:
        """Sends what time alone lets go: batches that gather for a while, or until the workers' next one is due."""
        while True:
            with self._changed:
                if self._stopping:
                    return
                flights = self._next_flights()
                if not flights:
                    self._changed.wait(self._until_next_s())
                    continue
            for flight in flights:
                self._send(flight)

    def _until_next_s(self) -> float | None:
        now = clock.monotonic()
        pauses = [
            policy.pause_s(lane.waiting(priority, now), lane.bounds, pool.policy(self._per_worker, now))
            for pool in self._pools.values()
            for priority in Priority
            if priority is not Priority.BACKGROUND or self._may_background(pool, now)
            for _, lane in pool.in_turn(priority)
        ]
        return min((max(0.0005, pause) for pause in pauses if pause is not None), default=None)

    def _receive_forever(self) -> None:
        looked_at = float("-inf")
        failing = False
        while not self._stopping:
            try:
                for reply in self._transport.receive():
                    self._complete(reply)
                if clock.monotonic() - looked_at >= _LOOK_S:
                    self._look_at_workers()
                    looked_at = clock.monotonic()
                failing = False
            except Exception:
                # Once, not five times a second: Redis may be away for an hour.
                if not failing and not self._stopping:
                    logger.warning("replies cannot be read now; trying again", exc_info=True)
                failing = True
                with self._changed:
                    self._changed.wait(0.2)
            try:
                self._look_after_flights()
            except Exception:
                # Nobody starts this thread again, and without it no reply is read.
                logger.exception("the batches on their way could not be looked after")

    def _look_at_workers(self) -> None:
        with self._changed:
            names = list(self._pools)
        found: dict[str, Capacity] = {name: self._transport.capacity(name) for name in names}
        with self._changed:
            for name, capacity in found.items():
                if name in self._pools:
                    self._pools[name].learn(capacity)
            self._changed.notify()

    # --- Back to the callers -----------------------------------------------------------------------------------------

    def _complete(self, reply: BatchReply) -> None:
        with self._changed:
            flight = self._flight_of(reply.batch_id)
            given_up = self._given_up.get(reply.batch_id)
            if flight is None and given_up is None:
                return  # The second answer of a batch that was sent twice.
            if flight is not None and not flight.losses and reply.error != TOO_LATE:
                took = clock.monotonic() - flight.sent_at
                flight.lane.learn(took_s=took, compute_s=reply.compute_s, tokens=flight.tokens)
                _seconds.labels(flight.lane.ref.name).observe(took)
        if flight is None:
            # Its worker was slow, not dead, and has settled the holds: who is charged must be answered. The inputs that were
            # sent one by one end as batches for which nobody waits.
            if given_up is not None and not reply.error and len(reply.results) == len(given_up):
                self._answer(given_up, reply.results)
            return
        if reply.error == TOO_LATE:
            self._skip(flight)
            return
        if reply.error or len(reply.results) != len(flight.items):
            reason = reply.error or f"{len(reply.results)} results for {len(flight.items)} inputs"
            logger.error("batch %s failed on %s: %s", reply.batch_id, reply.worker, reason)
            self._finish(flight, reason="worker-error")
            return
        # First the next batch, for a worker waits for it; then the callers, who are many.
        self._finish(flight, reason="")
        self._answer(flight.items, reply.results)

    def _skip(self, flight: Flight) -> None:
        """Its deadline had passed when a worker came to it. Of one that was sent twice the other copy may still be answered."""
        callers_wait = flight.losses > 0 and flight.priority is Priority.INTERACTIVE
        if callers_wait:
            with self._changed:
                self._given_up[flight.message.batch_id] = flight.items
        self._finish(flight, reason="" if callers_wait else "too-late")

    @staticmethod
    def _answer(items: Sequence[WorkItem], results: Sequence[bytes | None]) -> None:
        for item, scores in zip(items, results, strict=True):
            if scores is None:
                # Why stands in the worker's log; the words of a library are not for customers.
                item.fail(_unprocessable())
            else:
                item.succeed(scores)

    def _flight_of(self, batch_id: str) -> Flight | None:
        found = (pool.flights.get(batch_id) for pool in self._pools.values())
        return next((flight for flight in found if flight is not None), None)

    def _look_after_flights(self) -> None:
        now = clock.monotonic()
        with self._changed:
            flights = [flight for pool in self._pools.values() for flight in pool.flights.values()]
            for batch_id in [key for key, items in self._given_up.items() if all(item.abandoned for item in items)]:
                del self._given_up[batch_id]
        for flight in flights:
            # Past its deadline no worker computes a batch, and of inputs for which no call waits nobody says so.
            if all(item.abandoned or item.deadline < now - _MIN_RESEND_S for item in flight.items):
                self._finish(flight, reason="abandoned")
            elif flight.losses == 0 and now - flight.sent_at > max(_MIN_RESEND_S, self._patience_s(flight)):
                self._send_again(flight, now)
            elif flight.losses > 0 and now - flight.sent_at > max(_MIN_GIVE_UP_S, self._patience_s(flight)):
                self._split(flight)

    def _patience_s(self, flight: Flight) -> float:
        """What waits in the broker comes first: a batch behind it is late, not lost, and to send it twice would make it later."""
        pool = self._pools.get(flight.lane.ref.pool)
        before_s = pool.broker_wait_s() if pool is not None else 0.0
        return before_s + _RESEND_FACTOR * max(flight.lane.batch_s, flight.left_s)

    def _send_again(self, flight: Flight, now: float) -> None:
        flight.losses, flight.sent_at = 1, now
        _resent.inc()
        logger.warning("no reply for batch %s in time; it is sent once more", flight.message.batch_id)
        try:
            self._transport.send(flight.message, pool=flight.lane.ref.pool, priority=flight.priority)
        except Exception:
            # The first message may still be answered, so the batch is not over.
            logger.exception("batch %s could not be sent once more", flight.message.batch_id)

    def _split(self, flight: Flight) -> None:
        """Lost twice: an input of it may be what kills its workers. Each gets another chance by itself, so that only that one
        is lost with the next worker; one that is alone gets none. Halving would take a caller's time several times over.
        """
        wanted = [item for item in flight.items if not item.abandoned]
        if len(wanted) < 2:
            self._finish(flight, reason="no-reply")
            return
        _split.inc()
        logger.warning("batch %s was lost twice; its inputs are sent one by one", flight.message.batch_id)
        with self._changed:
            pool, lane = self._lane(flight.lane.ref)
            if pool.flights.pop(flight.message.batch_id, None) is None:
                return  # Its answer came in this very moment.
            alone = [self._flight(lane, [item], flight.priority, flight.losses) for item in wanted]
            pool.flights.update((each.message.batch_id, each) for each in alone)
            self._given_up[flight.message.batch_id] = flight.items
        for each in alone:
            self._send(each)

    def _finish(self, flight: Flight, *, reason: str) -> None:
        """The flight is over: what may go now goes, and with a ``reason`` its inputs fail."""
        with self._changed:
            pool, _ = self._lane(flight.lane.ref)
            ended = pool.flights.pop(flight.message.batch_id, None) is not None
            flights = self._next_flights()
            if self._queued:
                self._changed.notify_all()
        if ended and reason:
            self._fail(flight, reason)
        for each in flights:
            self._send(each)

    def _end(self, flight: Flight, *, reason: str) -> None:
        """The flight is over and its inputs fail; nothing is sent by this thread."""
        with self._changed:
            pool, _ = self._lane(flight.lane.ref)
            ended = pool.flights.pop(flight.message.batch_id, None) is not None
            self._changed.notify_all()
        if ended:
            self._fail(flight, reason)

    @staticmethod
    def _fail(flight: Flight, reason: str) -> None:
        _failed.labels(reason).inc()
        for item in flight.items:
            item.fail(unavailable("No worker could compute this prediction; nothing was charged. Please try again."))


def _overloaded() -> PlatformError:
    return PlatformError(
        ErrorKind.OVERLOADED,
        "More predictions wait than can be computed soon; nothing was charged.",
        retry_after_s=1.0,
    )


def _unprocessable() -> PlatformError:
    return PlatformError(
        ErrorKind.UNPROCESSABLE,
        "The model failed on this input, and would fail again. Nothing was charged for it; other inputs are not concerned.",
    )
