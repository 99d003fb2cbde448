"""What the batcher knows of a model version, of a pool of workers, and of a batch on its way."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from inference.batching import policy
from inference.batching.fair_queue import FairQueue
from inference.batching.messages import BatchMessage
from inference.batching.policy import Backlog, Bounds, Waiting
from inference.batching.work import WorkItem
from inference.types import ModelRef, Priority
from inference.workers import Capacity

_SMOOTHING: Final = 0.2
_COMPETING_S: Final = 1.0
_AHEAD_S: Final = 0.01
"""How long before a worker is free its next batch is sent while tenants compete: the broker's hop and some error."""


def _smooth(old: float, new: float) -> float:
    return new if not old else (1 - _SMOOTHING) * old + _SMOOTHING * new


@dataclass(slots=True)
class Lane:
    """The queues of one model version, and how fast it is: seconds from sending a batch to its reply, and of the model's
    own time for a token (for what has no tokens: an input)."""

    ref: ModelRef
    queues: dict[Priority, FairQueue] = field(default_factory=lambda: {each: FairQueue() for each in Priority})
    batch_s: float = 0.0
    token_s: float = 0.0
    _compute_s: float = 0.0
    _tokens: float = 0.0

    @property
    def bounds(self) -> Bounds:
        return Bounds(self.ref.max_batch_size, self.ref.max_batch_tokens, self.ref.max_queue_delay_s)

    def waiting(self, priority: Priority, now: float) -> Waiting:
        """What waits, as the policy wants to know it."""
        queue = self.queues[priority]
        oldest = queue.oldest_queued_at()
        return Waiting(len(queue), queue.tokens, now - oldest if oldest is not None else 0.0, self.batch_s)

    def learn(self, *, took_s: float, compute_s: float, tokens: int) -> None:
        """A batch came back."""
        self.batch_s = _smooth(self.batch_s, took_s)
        if compute_s > 0 and tokens > 0:
            # Sums that fade, not an average of quotients: a large batch tells more of the speed than a small one.
            self._compute_s = (1 - _SMOOTHING) * self._compute_s + compute_s
            self._tokens = (1 - _SMOOTHING) * self._tokens + tokens
            self.token_s = self._compute_s / self._tokens


@dataclass(slots=True, eq=False)
class Flight:
    """A batch that was sent and not answered yet. ``losses`` is how often no reply came in time."""

    lane: Lane
    items: list[WorkItem]
    message: BatchMessage
    priority: Priority
    sent_at: float
    losses: int = 0

    @property
    def tokens(self) -> int:
        return sum(item.size for item in self.items)

    @property
    def left_s(self) -> float:
        """The model's time for it, as far as it is known."""
        return self.tokens * self.lane.token_s


@dataclass(slots=True)
class PoolState:
    """The workers of one Celery queue as they last said, the lanes of the versions that they run, in turns, and which
    tenants came lately."""

    capacity: Capacity = field(default_factory=lambda: Capacity(1, 0, 0.0))
    lanes: dict[tuple[int, str], Lane] = field(default_factory=dict)
    flights: dict[str, Flight] = field(default_factory=dict)
    seen: dict[int, float] = field(default_factory=dict)
    others_waiting: int = 0

    def learn(self, capacity: Capacity) -> None:
        """What the workers say now. Of our own batches all that none of them computes wait in the broker too; the rest of what
        waits there is of other processes."""
        self.capacity = capacity
        ours = max(0, len(self.flights) - max(1, capacity.workers))
        self.others_waiting = max(0, capacity.waiting_batches - ours)

    def policy(self, per_worker: int, now: float) -> policy.Pool:
        """The pool as the policy wants to know it."""
        workers = max(1, self.capacity.workers)
        ahead_in_s = 0.0
        if len(self.flights) >= workers and self.competing(now):
            free_at = min(flight.sent_at + flight.left_s for flight in self.flights.values())
            ahead_in_s = max(0.0, free_at - _AHEAD_S - now)
        return policy.Pool(workers, per_worker, len(self.flights), self.others_waiting, ahead_in_s)

    def competing(self, now: float) -> bool:
        """Whether more than one tenant wanted these workers within the last second."""
        for tenant_id in [tenant_id for tenant_id, at in self.seen.items() if now - at > _COMPETING_S]:
            del self.seen[tenant_id]
        return len(self.seen) > 1

    def in_turn(self, priority: Priority) -> Iterator[tuple[tuple[int, str], Lane]]:
        """The lanes in which something of this priority waits, whose turn came longest ago first."""
        return ((key, lane) for key, lane in list(self.lanes.items()) if len(lane.queues[priority]))

    def end_turn(self, key: tuple[int, str]) -> None:
        """The lane was served."""
        self.lanes[key] = self.lanes.pop(key)

    def background_flights(self) -> int:
        return sum(1 for flight in self.flights.values() if flight.priority is Priority.BACKGROUND)

    def backlogs(self) -> list[Backlog]:
        """What each tenant has waiting in all lanes of the pool, in seconds of a worker."""
        seconds: dict[int, float] = {}
        weights: dict[int, int] = {}
        for lane in self.lanes.values():
            for tenant_id, (tokens, weight) in lane.queues[Priority.INTERACTIVE].tenants().items():
                seconds[tenant_id] = seconds.get(tenant_id, 0.0) + tokens * lane.token_s
                weights[tenant_id] = weight
        return [Backlog(tenant_id, spent, weights[tenant_id]) for tenant_id, spent in seconds.items()]

    def broker_wait_s(self) -> float:
        """The workers' time for everything that waits in the broker, of this process and of others."""
        return self.capacity.waiting_batches * self.capacity.batch_s / max(1, self.capacity.workers)

    def in_flight_s(self) -> float:
        """The workers' time for what was sent before, by this process and by others."""
        others = self.others_waiting * self.capacity.batch_s
        return sum(flight.left_s for flight in self.flights.values()) + others
