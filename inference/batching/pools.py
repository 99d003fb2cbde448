"""What waits and what is on its way, by pools of workers. Not thread-safe: the batcher holds its lock."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final

from inference.batching import policy
from inference.batching.fair_queue import FairQueue, Totals
from inference.batching.lanes import InFlightBatch, Lane, dispatch
from inference.batching.policy import Backlog
from inference.batching.served import Served
from inference.batching.work import WorkItem
from inference.fleet.workers import Capacity
from inference.types import ModelRef, Priority

COMPETING_S: Final = 1.0
_AHEAD_S: Final = 0.01
"""How long before a worker is free its next batch is sent while tenants compete: the broker's hop and some error."""

FORGET_S: Final = 600.0
"""How long a lane out of use is kept: a version that is called now and then keeps its speed, a retired one goes."""

_turn = attrgetter("turn")


@dataclass(slots=True)
class PoolState:
    """The workers of one Celery queue as they last said, the lanes of the versions that they run, and which tenants came
    lately, in the order in which they last came."""

    capacity: Capacity = field(default_factory=lambda: Capacity(1, 0, 0.0))
    lanes: dict[tuple[int, str], Lane] = field(default_factory=dict)
    in_flight: dict[str, InFlightBatch] = field(default_factory=dict)
    others_waiting: int = 0
    served: Served = field(default_factory=Served)
    _seen: OrderedDict[int, float] = field(default_factory=OrderedDict)
    _waiting: dict[Priority, set[Lane]] = field(default_factory=lambda: {each: set() for each in Priority})
    """The lanes in which something waits, and some in which nothing waits any more: :meth:`in_turn` drops those."""
    _turns: int = 0

    def learn(self, capacity: Capacity) -> None:
        """What the workers say now. Of our own batches all that none of them computes wait in the broker too; the rest of what
        waits there is of other processes."""
        self.capacity = capacity
        ours = max(0, len(self.in_flight) - max(1, capacity.workers))
        self.others_waiting = max(0, capacity.waiting_batches - ours)

    def push(self, lane: Lane, item: WorkItem, now: float) -> None:
        """Queue an input in one of this pool's lanes."""
        lane.queues[item.priority].push(item)
        lane.used_at = now
        self._waiting[item.priority].add(lane)
        if item.priority is Priority.INTERACTIVE:
            self._seen[item.hold.tenant_id] = now
            self._seen.move_to_end(item.hold.tenant_id)

    def competing(self, now: float) -> bool:
        """Whether more than one tenant wanted these workers within the last second."""
        while self._seen and now - next(iter(self._seen.values())) > COMPETING_S:
            self._seen.popitem(last=False)
        return len(self._seen) > 1

    def policy(self, per_worker: int, now: float, *, competing: bool) -> policy.Pool:
        """The pool as the policy wants to know it."""
        workers = max(1, self.capacity.workers)
        ahead_in_s = 0.0
        if competing and len(self.in_flight) >= workers:
            free_at = min((begun_at + sent.left_s for sent, begun_at in self._begun()), default=now)
            ahead_in_s = max(0.0, free_at - _AHEAD_S - now)
        return policy.Pool(workers, per_worker, len(self.in_flight), self.others_waiting, ahead_in_s)

    def begin_batches(self, now: float) -> None:
        """Free workers take up the batches that were sent first."""
        free = max(1, self.capacity.workers) - sum(1 for _ in self._begun())
        for sent in self.in_flight.values():
            if free <= 0:
                return
            if sent.begun_at is None:
                sent.begun_at = now
                free -= 1

    def _begun(self) -> Iterator[tuple[InFlightBatch, float]]:
        """The batches that workers compute, and since when."""
        for sent in self.in_flight.values():
            if sent.begun_at is not None:
                yield sent, sent.begun_at

    @property
    def waits(self) -> bool:
        """Whether something waits, or did so until lately."""
        return any(self._waiting.values())

    def in_turn(self, priority: Priority) -> list[Lane]:
        """The lanes in which something of this priority waits, whose turn came longest ago first."""
        waiting = self._waiting[priority]
        if not waiting:
            return []
        waiting = self._waiting[priority] = {lane for lane in waiting if len(lane.queues[priority])}
        return sorted(waiting, key=_turn)

    def admits(self, lane: Lane) -> bool:
        """Whether another batch of the lane may go now. Of a tenant's model one is under way at a time: its process computes no
        two, and the second would only hold a worker's thread that others need."""
        return not lane.ref.batch_limit_s or all(sent.lane is not lane for sent in self.in_flight.values())

    def end_turn(self, lane: Lane) -> None:
        """The lane was served, or is new: it comes last."""
        self._turns += 1
        lane.turn = self._turns

    def background_flights(self) -> int:
        return sum(1 for sent in self.in_flight.values() if sent.priority is Priority.BACKGROUND)

    def backlogs(self) -> list[Backlog]:
        """What each tenant has waiting in all lanes of the pool, in seconds of a worker."""
        seconds: dict[int, float] = {}
        weights: dict[int, int] = {}
        for lane in self.in_turn(Priority.INTERACTIVE):
            for tenant_id, (tokens, weight) in lane.queues[Priority.INTERACTIVE].tenants().items():
                seconds[tenant_id] = seconds.get(tenant_id, 0.0) + tokens * lane.speed.token_s
                weights[tenant_id] = weight
        return [Backlog(tenant_id, spent, weights[tenant_id]) for tenant_id, spent in seconds.items()]

    def broker_wait_s(self) -> float:
        """The workers' time for everything that waits in the broker, of this process and of others."""
        return self.capacity.waiting_batches * self.capacity.batch_s / max(1, self.capacity.workers)

    def in_flight_s(self) -> float:
        """The workers' time for what was sent before, by this process and by others."""
        others = self.others_waiting * self.capacity.batch_s
        return sum(sent.left_s for sent in self.in_flight.values()) + others

    def forget_lanes(self, now: float) -> None:
        """Drop the lanes that were not used for some minutes, with what was learned of their speed."""
        unused = [(key, lane) for key, lane in self.lanes.items() if now - lane.used_at > FORGET_S]
        if not unused:
            return
        needed = {sent.lane for sent in self.in_flight.values()}
        needed.update(lane for priority in Priority for lane in self.in_turn(priority))
        for key, lane in unused:
            if lane not in needed:
                del self.lanes[key]


class Pools:
    """All pools that this process sends to. ``totals`` is what waits in all of their queues."""

    def __init__(self) -> None:
        self.totals = Totals()
        self._pools: dict[str, PoolState] = {}

    def __iter__(self) -> Iterator[PoolState]:
        return iter(self._pools.values())

    def names(self) -> list[str]:
        return list(self._pools)

    def get(self, name: str) -> PoolState | None:
        return self._pools.get(name)

    def find(self, ref: ModelRef) -> tuple[PoolState, Lane] | None:
        """The pool and the lane of a version; None for one that had no inputs lately."""
        pool = self._pools.get(ref.pool)
        lane = pool.lanes.get((ref.version_id, ref.digest)) if pool is not None else None
        return (pool, lane) if pool is not None and lane is not None else None

    def open(self, ref: ModelRef) -> tuple[PoolState, Lane]:
        """The pool and the lane of a version, which is about to get inputs; new ones if need be."""
        found = self.find(ref)
        if found is not None:
            found[1].follow(ref)
            return found
        pool = self._pools.setdefault(ref.pool, PoolState())
        lane = pool.lanes[ref.version_id, ref.digest] = Lane(ref, self.totals)
        pool.end_turn(lane)
        return pool, lane

    def queues(self) -> Iterator[tuple[Priority, FairQueue]]:
        """Every queue in which something waits, with its priority."""
        for pool in self._pools.values():
            for priority in Priority:
                for lane in pool.in_turn(priority):
                    yield priority, lane.queues[priority]

    def sent(self, batch_id: str) -> InFlightBatch | None:
        """The batch that is on its way under this id."""
        for pool in self._pools.values():
            if (sent := pool.in_flight.get(batch_id)) is not None:
                return sent
        return None

    def in_flight(self) -> list[InFlightBatch]:
        return [sent for pool in self._pools.values() for sent in pool.in_flight.values()]

    def add(self, sent: InFlightBatch) -> None:
        """The batch is on its way from now on, in the pool of its lane."""
        pool = self._pools[sent.lane.ref.pool]
        pool.in_flight[sent.message.batch_id] = sent
        pool.begin_batches(sent.sent_at)

    def serve(self, sent: InFlightBatch, compute_s: float, now: float) -> None:
        """A worker computed the batch for so many seconds, of which each tenant in it has a part."""
        pool = self._pools.get(sent.lane.ref.pool)
        if pool is None or sent.priority is not Priority.INTERACTIVE:
            return
        token_s = compute_s / max(1, sent.tokens)
        got: dict[int, float] = {}
        for item in sent.items:
            got[item.hold.tenant_id] = got.get(item.hold.tenant_id, 0.0) + item.size * token_s
        pool.served.add(got, now)

    def complete(self, sent: InFlightBatch, now: float) -> bool:
        """The batch is over; False if it was before."""
        pool = self._pools.get(sent.lane.ref.pool)
        if pool is None or pool.in_flight.pop(sent.message.batch_id, None) is None:
            return False
        pool.begin_batches(now)
        return True

    def split(self, sent: InFlightBatch, now: float, *, reply_to: str) -> list[InFlightBatch]:
        """The batch is over; those of its inputs for which a call waits are on their way as batches of one. None of them are
        if it was over before."""
        if not self.complete(sent, now):
            return []
        lane, priority, losses = sent.lane, sent.priority, sent.losses
        alone = [dispatch(lane, [item], priority, reply_to=reply_to, losses=losses) for item in sent.wanted]
        for each in alone:
            self.add(each)
        return alone

    def forget_lanes(self, now: float) -> None:
        """Drop the lanes that were not used for some minutes: versions retire, and a process lives for months."""
        for pool in self._pools.values():
            pool.forget_lanes(now)

    def clear(self) -> list[WorkItem]:
        """Forget everything; the inputs that waited or were on their way."""
        inputs = [item for _, queue in self.queues() for item in queue.clear()]
        inputs += [item for sent in self.in_flight() for item in sent.items]
        self._pools.clear()
        return inputs
