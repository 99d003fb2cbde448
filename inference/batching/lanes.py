"""What the batcher knows of a model version, and of a batch on its way."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from inference.batching import metrics
from inference.batching.fair_queue import FairQueue, Totals
from inference.batching.messages import BatchMessage, BatchReply, ItemMessage
from inference.batching.policy import Bounds, Waiting
from inference.batching.speed import Speed
from inference.batching.work import WorkItem
from inference.types import ModelRef, Priority
from mlplatform.lib import clock, tally
from mlplatform.lib.ids import hex_id

_SMOOTHING: Final = 0.2


def _smooth(old: float, new: float) -> float:
    return new if not old else (1 - _SMOOTHING) * old + _SMOOTHING * new


class Lane:
    """The queues of one model version, and how fast it is: seconds from sending a batch to its reply (``batch_s``; 0 while
    unknown), and the model's own ``speed``.

    ``turn`` is smaller the longer ago the lane was served; ``used_at`` is on the monotonic clock.
    """

    def __init__(self, ref: ModelRef, totals: Totals) -> None:
        self.queues = {each: FairQueue(totals) for each in Priority}
        self.batch_s = 0.0
        self.speed = Speed()
        self.turn = 0
        self.used_at = clock.monotonic()
        self._adopt(ref)

    def follow(self, ref: ModelRef) -> None:
        """What staff changed of the version since counts from now on."""
        if ref is not self.ref:
            self._adopt(ref)

    def _adopt(self, ref: ModelRef) -> None:
        self.ref = ref
        self.bounds = Bounds(ref.max_batch_size, ref.max_batch_tokens, ref.max_queue_delay_s)
        self.sizes, self.seconds = metrics.of_model(ref)

    def waiting(self, priority: Priority, now: float) -> Waiting:
        """What waits, as the policy wants to know it."""
        queue = self.queues[priority]
        oldest = queue.oldest_queued_at()
        return Waiting(len(queue), queue.tokens, now - oldest if oldest is not None else 0.0, self.batch_s)

    def learn(self, *, took_s: float, compute_s: float, sizes: Sequence[int]) -> None:
        """A batch came back, in which inputs of these tokens were computed."""
        tally.observe(self.seconds, took_s)
        self.batch_s = _smooth(self.batch_s, took_s)
        self.speed.learn(compute_s=compute_s, tokens=sum(sizes), inputs=len(sizes))


@dataclass(slots=True, eq=False)
class InFlightBatch:
    """A batch that was sent and not answered yet. ``losses`` is how often no reply came in time; ``begun_at`` is when a worker
    took it up, as far as that is known, None while others are computed first. Times are on the monotonic clock."""

    lane: Lane
    items: Sequence[WorkItem]
    message: BatchMessage
    priority: Priority
    sent_at: float
    losses: int = 0
    begun_at: float | None = None
    tokens: int = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = sum([item.size for item in self.items])

    @property
    def left_s(self) -> float:
        """The model's time for it, as far as it is known."""
        return self.lane.speed.batch_s(self.tokens)

    def computed_sizes(self, reply: BatchReply) -> list[int]:
        """The tokens of each input that the model's time was for: what is refused takes none of it, and must not make the model
        look faster."""
        refused = reply.refused if len(reply.results) == len(self.items) else ()
        return [item.size for place, item in enumerate(self.items) if place not in refused]

    @property
    def wanted(self) -> list[WorkItem]:
        """The inputs for which a call still waits."""
        return [item for item in self.items if not item.abandoned]


def dispatch(
    lane: Lane, items: Sequence[WorkItem], priority: Priority, *, reply_to: str, losses: int = 0
) -> InFlightBatch:
    """These inputs are a batch from now on, of one that was lost ``losses`` times before."""
    now = clock.monotonic()
    latest = max([item.deadline for item in items])
    message = BatchMessage(
        batch_id=hex_id(),
        version_id=lane.ref.version_id,
        digest=lane.ref.digest,
        reply_to=reply_to,
        deadline=clock.now().timestamp() + latest - now,
        cache_ttl_s=lane.ref.cache_ttl_s,
        items=[
            ItemMessage(
                item.payload, item.cache_key, item.hold.hold_id, item.hold.tenant_id, item.hold.shard, item.truncate
            )
            for item in items
        ],
    )
    tally.observe(lane.sizes, len(items))
    return InFlightBatch(lane, items, message, priority, sent_at=now, losses=losses)
