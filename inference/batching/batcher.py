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
from inference.batching.messages import BatchMessage, BatchReply, ItemMessage
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
_split = Counter("mlplatform_batches_split_total", "Batches that were lost twice and were sent again in two halves.")
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
        """Drop what nobody waits for, then background work, then the newest inputs of whoever has most.

        Raises OVERLOADED without dropping anything where the newcomer is background work or has most itself.
        """
        if self._fits(items):
            return []
        for _, queue in self._queues():
            queue.purge()
        self._count_queued()
        if self._fits(items):
            return []
        own = items[0].hold.tenant_id
        shares = self._shares(Priority.INTERACTIVE)
        mine = shares.pop(own, 0.0) + len(items) / items[0].weight
        background = sum(len(queue) for priority, queue in self._queues() if priority is Priority.BACKGROUND)
        unfair = max(shares.values(), default=0.0) <= mine and len(items) > background
        if items[0].priority is Priority.BACKGROUND or unfair or len(items) > self._max_queued:
            _refused.labels("queue-full").inc(len(items))
            raise _overloaded()
        dropped: list[WorkItem] = []
        while not self._fits(items) and (item := self._drop_one(own)) is not None:
            dropped.append(item)
            self._count_queued()
        _refused.labels("made-room").inc(len(dropped))
        return dropped

    def _drop_one(self, own: int) -> WorkItem | None:
        """The newest background input of whoever has most of them, else the newest input of another tenant."""
        for priority in reversed(Priority):
            shares = self._shares(priority)
            if priority is Priority.INTERACTIVE:
                shares.pop(own, None)
            if not shares:
                continue
            victim = max(shares, key=lambda tenant_id: shares[tenant_id])
            queues = [queue for each, queue in self._queues() if each is priority and victim in queue.counts()]
            return max(queues, key=lambda queue: queue.counts()[victim][0]).drop_newest(victim)
        return None

    def _fits(self, items: Sequence[WorkItem]) -> bool:
        size = sum(len(item.payload) for item in items)
        return not items or (
            self._queued + len(items) <= self._max_queued and self._queued_bytes + size <= self._max_queued_bytes
        )

    def _shares(self, priority: Priority) -> dict[int, float]:
        """How many inputs of a priority each tenant has waiting, over its weight."""
        shares: dict[int, float] = {}
        for each, queue in self._queues():
            if each is priority:
                for tenant_id, (inputs, weight) in queue.counts().items():
                    shares[tenant_id] = shares.get(tenant_id, 0.0) + inputs / weight
        return shares

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
        state = pool.policy(self._per_worker)
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
            self._finish(flight, reason="not-sent")

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
            policy.pause_s(lane.waiting(priority, now), lane.bounds, pool.policy(self._per_worker))
            for pool in self._pools.values()
            for priority in Priority
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
            self._look_after_flights()

    def _look_at_workers(self) -> None:
        with self._changed:
            names = list(self._pools)
        found: dict[str, Capacity] = {name: self._transport.capacity(name) for name in names}
        with self._changed:
            for name, capacity in found.items():
                if name in self._pools:
                    self._pools[name].capacity = capacity
            self._changed.notify()

    # --- Back to the callers -----------------------------------------------------------------------------------------

    def _complete(self, reply: BatchReply) -> None:
        with self._changed:
            flight = self._flight_of(reply.batch_id)
            if flight is None:
                return  # The second answer of a batch that was sent twice.
            if not flight.losses:
                took = clock.monotonic() - flight.sent_at
                flight.lane.learn(took_s=took, compute_s=reply.compute_s, tokens=flight.tokens)
                _seconds.labels(flight.lane.ref.name).observe(took)
        if reply.error or len(reply.results) != len(flight.items):
            reason = reply.error or f"{len(reply.results)} results for {len(flight.items)} inputs"
            logger.error("batch %s failed on %s: %s", reply.batch_id, reply.worker, reason)
            self._finish(flight, reason="worker-error")
            return
        # First the next batch, for a worker waits for it; then the callers, who are many.
        self._finish(flight, reason="")
        for item, scores in zip(flight.items, reply.results, strict=True):
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
        for flight in flights:
            if all(item.abandoned for item in flight.items):
                self._finish(flight, reason="abandoned")
            elif flight.losses == 0 and now - flight.sent_at > max(_MIN_RESEND_S, self._patience_s(flight)):
                self._send_again(flight, now)
            elif flight.losses > 0 and now - flight.sent_at > max(_MIN_GIVE_UP_S, self._patience_s(flight)):
                self._split(flight)

    @staticmethod
    def _patience_s(flight: Flight) -> float:
        return _RESEND_FACTOR * max(flight.lane.batch_s, flight.left_s)

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
        """Lost twice: an input of it may be what kills its workers. Each half gets another chance; an input alone does not,
        so that it fails and its neighbours are answered."""
        wanted = [item for item in flight.items if not item.abandoned]
        if len(wanted) < 2:
            self._finish(flight, reason="no-reply")
            return
        _split.inc()
        logger.warning("batch %s was lost twice; its halves are sent", flight.message.batch_id)
        middle = len(wanted) // 2
        with self._changed:
            pool, lane = self._lane(flight.lane.ref)
            if pool.flights.pop(flight.message.batch_id, None) is None:
                return  # Its answer came in this very moment.
            halves = [
                self._flight(lane, half, flight.priority, flight.losses) for half in (wanted[:middle], wanted[middle:])
            ]
            pool.flights.update((half.message.batch_id, half) for half in halves)
        for half in halves:
            self._send(half)

    def _finish(self, flight: Flight, *, reason: str) -> None:
        """The flight is over: what may go now goes, and with a ``reason`` its inputs fail."""
        with self._changed:
            pool, _ = self._lane(flight.lane.ref)
            ended = pool.flights.pop(flight.message.batch_id, None) is not None
            flights = self._next_flights()
            if self._queued:
                self._changed.notify()
        if ended and reason:
            _failed.labels(reason).inc()
            for item in flight.items:
                item.fail(
                    unavailable("No worker could compute this prediction; nothing was charged. Please try again.")
                )
        for each in flights:
            self._send(each)


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
