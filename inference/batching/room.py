"""Making room in a full queue: who must go so that somebody with less may come. Without threads."""

from collections.abc import Iterable, Sequence

from inference.batching.fair_queue import FairQueue, Totals
from inference.batching.work import WorkItem
from inference.types import Priority

Queues = Sequence[tuple[Priority, FairQueue]]


class Room:
    """How much one process may queue: inputs and their bytes. ``totals`` is what all of its queues hold now."""

    def __init__(self, totals: Totals, *, max_inputs: int, max_bytes: int) -> None:
        self._totals = totals
        self._max_inputs = max_inputs
        self._max_bytes = max_bytes

    def make(
        self, newcomers: Sequence[WorkItem], queues: Iterable[tuple[Priority, FairQueue]]
    ) -> list[WorkItem] | None:
        """Make room for the inputs of one call: drop what nobody waits for, then background work, then the newest inputs of
        whoever has more than the newcomer.

        ``queues`` are those in which something waits. Gives what was dropped of what somebody waits for; None, and nothing
        such was dropped, where that would not make enough room.
        """
        if self._fits(newcomers):
            return []
        waiting = list(queues)
        for _, queue in waiting:
            queue.purge()
        if self._fits(newcomers):
            return []
        if newcomers[0].priority is Priority.BACKGROUND:
            return None
        own = newcomers[0].hold.tenant_id
        mine = self._shares(waiting, Priority.INTERACTIVE).get(own, 0.0)
        mine += self._share(len(newcomers), _bytes(newcomers), newcomers[0].weight)
        dropped: list[tuple[FairQueue, WorkItem]] = []
        while not self._fits(newcomers):
            one = self._drop_one(waiting, own, mine)
            if one is None:
                for queue, item in reversed(dropped):
                    queue.push(item)
                return None
            dropped.append(one)
        return [item for _, item in dropped]

    def _fits(self, items: Sequence[WorkItem]) -> bool:
        totals = self._totals
        return not items or (
            totals.inputs + len(items) <= self._max_inputs and totals.bytes + _bytes(items) <= self._max_bytes
        )

    def _drop_one(self, queues: Queues, own: int, mine: float) -> tuple[FairQueue, WorkItem] | None:
        """The newest background input of whoever has most of them, else the newest input of another tenant, whose share is
        larger than ``mine``; and the queue in which it was."""
        for priority in reversed(Priority):
            shares = self._shares(queues, priority)
            if priority is Priority.INTERACTIVE:
                shares = {each: share for each, share in shares.items() if each != own and share > mine}
            if not shares:
                continue
            victim = max(shares, key=lambda tenant_id: shares[tenant_id])
            having = [queue for each, queue in queues if each is priority and victim in queue.counts()]
            queue = max(having, key=lambda queue: self._share(*queue.counts()[victim]))
            item = queue.drop_newest(victim)
            return None if item is None else (queue, item)
        return None

    def _shares(self, queues: Queues, priority: Priority) -> dict[int, float]:
        """What each tenant has waiting of a priority, as :meth:`_share` measures it."""
        waiting: dict[int, tuple[int, int, int]] = {}
        for each, queue in queues:
            if each is priority:
                for tenant_id, (inputs, size, weight) in queue.counts().items():
                    before = waiting.get(tenant_id, (0, 0, 0))
                    waiting[tenant_id] = (before[0] + inputs, before[1] + size, weight)
        return {tenant_id: self._share(*what) for tenant_id, what in waiting.items()}

    def _share(self, inputs: int, size: int, weight: int) -> float:
        """How much of what a process may queue that is, by number or by bytes, whichever is more, over the tenant's weight."""
        return max(inputs / max(1, self._max_inputs), size / max(1, self._max_bytes)) / max(1, weight)


def _bytes(items: Sequence[WorkItem]) -> int:
    return sum([len(item.payload) for item in items])
