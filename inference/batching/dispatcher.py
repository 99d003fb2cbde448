"""Which batch of a pool goes next and when: the policy, asked for each lane in turn. Without threads."""

from dataclasses import dataclass
from typing import Final

from inference.batching import policy
from inference.batching.lanes import Lane
from inference.batching.policy import Draft
from inference.batching.pools import PoolState
from inference.batching.work import WorkItem
from inference.types import Priority

_BACKGROUND_PATIENCE_S: Final = 10.0
_LEAST_PAUSE_S: Final = 0.0005  # A timer is not more punctual than this.


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs that were taken out of a lane's queue, to be sent together."""

    lane: Lane
    priority: Priority
    items: list[WorkItem]


@dataclass(frozen=True, slots=True)
class Dispatcher:
    """``per_worker`` batches may be on their way for each worker; while tenants compete, one is kept to ``shared_batch_s`` of
    computing, 0 for no bound. Times are on the monotonic clock."""

    per_worker: int
    shared_batch_s: float

    def next_batch(self, pool: PoolState, now: float) -> Batch | None:
        """A batch that may go now, out of the queues."""
        if not pool.waits:
            return None
        competing = pool.competing(now)
        state = pool.policy(self.per_worker, now, competing=competing)
        if state.full:
            return None
        limit_s = self.shared_batch_s if competing else 0.0
        batch = self._first(pool, Priority.INTERACTIVE, state, limit_s, now)
        if batch is None and self._may_background(pool, now):
            batch = self._first(pool, Priority.BACKGROUND, state, limit_s, now)
        return batch

    def until_next_s(self, pool: PoolState, now: float) -> float | None:
        """Seconds until time alone lets a batch go; None if something else must happen first."""
        state = pool.policy(self.per_worker, now, competing=pool.competing(now))
        if state.full:
            return None
        pauses = [
            policy.pause_s(lane.waiting(priority, now), lane.bounds, state)
            for priority in Priority
            if priority is not Priority.BACKGROUND or self._may_background(pool, now)
            for lane in pool.in_turn(priority)
            if pool.admits(lane)
        ]
        return min((max(_LEAST_PAUSE_S, pause) for pause in pauses if pause is not None), default=None)

    @staticmethod
    def _first(pool: PoolState, priority: Priority, state: policy.Pool, limit_s: float, now: float) -> Batch | None:
        """The batch of the first lane in turn that may send one."""
        for lane in pool.in_turn(priority):
            if not pool.admits(lane) or policy.pause_s(lane.waiting(priority, now), lane.bounds, state) != 0:
                continue
            items = lane.queues[priority].fill(
                Draft(lane.bounds, lane.speed, policy.shared_batch_s(limit_s, lane.speed))
            )
            if items:
                pool.end_turn(lane)
                return Batch(lane, priority, items)
        return None

    @staticmethod
    def _may_background(pool: PoolState, now: float) -> bool:
        """One background batch a worker at most, and only while no interactive input waits; or when it has waited too long."""
        if pool.background_flights() >= max(1, pool.capacity.workers):
            return False
        if not pool.in_turn(Priority.INTERACTIVE):
            return True
        waiting = [lane.waiting(Priority.BACKGROUND, now) for lane in pool.in_turn(Priority.BACKGROUND)]
        return any(each.oldest_s >= _BACKGROUND_PATIENCE_S for each in waiting)
