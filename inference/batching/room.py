"""Making room in a full queue: which inputs are dropped so that a tenant with fewer may queue one. Without threads."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace

from inference.batching.fair_queue import FairQueue, Totals
from inference.batching.work import WorkItem
from inference.types import Priority

Counts = tuple[int, int, int]
"""Inputs, their bytes, and the weight of their tenant."""


@dataclass(frozen=True, slots=True)
class _Scale:
    """How many inputs and bytes a process may queue, at least 1 each."""

    inputs: int
    bytes: int

    def share(self, inputs: int, size: int, weight: int) -> float:
        """How much of what a process may queue that is, by number or by bytes, whichever is more, over the tenant's weight."""
        return max(inputs / self.inputs, size / self.bytes) / (weight or 1)


@dataclass(slots=True)
class _Lacking:
    """How many inputs and bytes must go before the newcomers fit; below 0 for what is free beside them."""

    inputs: int
    bytes: int

    def nothing(self) -> bool:
        """Whether the newcomers fit."""
        return self.inputs <= 0 and self.bytes <= 0

    def free(self, items: Iterable[WorkItem]) -> None:
        """These go."""
        for item in items:
            self.inputs -= 1
            self.bytes -= len(item.payload)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A queue, its inputs for which no call waits, and what each tenant has in it beside those."""

    queue: FairQueue
    gone: AbstractSet[WorkItem]
    counts: Mapping[int, Counts]


class _Owner:
    """What of a tenant's inputs of one priority stays while a plan is made, and what share that is."""

    __slots__ = ("_newest", "_parts", "_scale", "_tenant_id", "_waiting", "bytes", "inputs", "share", "weight")

    def __init__(self, tenant_id: int, counts: Counts, scale: _Scale, waiting: Sequence[_Waiting]) -> None:
        self._tenant_id = tenant_id
        self._scale = scale
        self._waiting = waiting
        self._parts: list[Counts] = []
        self._newest: dict[int, Iterator[WorkItem]] = {}
        self.inputs, self.bytes, self.weight = counts
        self.share = scale.share(*counts)

    def give_way(self) -> tuple[FairQueue, WorkItem]:
        """The newest input in the queue in which the tenant has most, and that queue. The input stays there."""
        parts, share = self._parts, self._scale.share
        if not parts:
            self._waiting = [each for each in self._waiting if self._tenant_id in each.counts]
            parts = self._parts = [each.counts[self._tenant_id] for each in self._waiting]
        shares = [share(*part) for part in parts]
        place = shares.index(max(shares))
        inputs, size, weight = parts[place]
        where = self._waiting[place]
        newest = self._newest.get(place)
        if newest is None:
            newest = self._newest[place] = where.queue.newest_first(self._tenant_id, where.gone)
        item = next(newest)
        parts[place] = (inputs - 1, size - len(item.payload), weight)
        self.inputs, self.bytes = self.inputs - 1, self.bytes - len(item.payload)
        self.share = share(self.inputs, self.bytes, self.weight)
        return where.queue, item


class Room:
    """How much one process may queue: inputs and their bytes. ``totals`` is what all of its queues hold now."""

    def __init__(self, totals: Totals, *, max_inputs: int, max_bytes: int) -> None:
        self._totals = totals
        self._max_inputs = max_inputs
        self._max_bytes = max_bytes
        self._scale = _Scale(max(1, max_inputs), max(1, max_bytes))

    def make(
        self, newcomers: Sequence[WorkItem], queues: Iterable[tuple[Priority, FairQueue]]
    ) -> list[WorkItem] | None:
        """Make room for the inputs of one call: drop what no call waits for, then background work, then the newest inputs of
        tenants that have more than the newcomer.

        ``queues`` are those in which something waits. Gives what was dropped although a call waits for it; None, and nothing
        at all was changed, where that would not make enough room.
        """
        count, size = len(newcomers), _bytes(newcomers)
        lacking = _Lacking(self._totals.inputs + count - self._max_inputs, self._totals.bytes + size - self._max_bytes)
        if not newcomers or lacking.nothing():
            return []
        if count > self._max_inputs or size > self._max_bytes:
            return None
        # Everything is decided before anything is dropped. Callers leave meanwhile, so each input is asked once.
        waiting = [(priority, queue, queue.abandoned()) for priority, queue in queues]
        for _, _, gone in waiting:
            lacking.free(gone)
        plan = self._plan(newcomers, waiting, lacking)
        if not lacking.nothing():
            return None
        leaving = {queue: gone for _, queue, gone in waiting}
        for queue, item in plan:
            leaving[queue].append(item)
        for queue, items in leaving.items():
            queue.drop(items)
        return [item for _, item in plan]

    def _plan(
        self,
        newcomers: Sequence[WorkItem],
        queues: Sequence[tuple[Priority, FairQueue, list[WorkItem]]],
        lacking: _Lacking,
    ) -> list[tuple[FairQueue, WorkItem]]:
        """What must go and the queues in which it is. Where that is not enough, something is lacking still."""
        first = newcomers[0]
        if lacking.nothing() or first.priority is Priority.BACKGROUND:
            return []
        owners = {priority: self._owners(queues, priority) for priority in Priority}
        own = owners[Priority.INTERACTIVE].pop(first.hold.tenant_id, None)
        mine = self._scale.share(len(newcomers), _bytes(newcomers), first.weight) + (own.share if own else 0.0)
        background = list(owners[Priority.BACKGROUND].values())
        larger = [owner for owner in owners[Priority.INTERACTIVE].values() if owner.share > mine]
        everything = [*background, *larger]
        if sum([each.inputs for each in everything]) < lacking.inputs:
            return []
        if sum([each.bytes for each in everything]) < lacking.bytes:
            return []
        plan = _newest_of_the_largest(background, 0.0, lacking)
        plan += _newest_of_the_largest(larger, mine, lacking)
        return plan

    def _owners(
        self, queues: Sequence[tuple[Priority, FairQueue, list[WorkItem]]], priority: Priority
    ) -> dict[int, _Owner]:
        """What each tenant has waiting of a priority, in the order of the queues."""
        waiting = [_Waiting(queue, set(gone), queue.counts(gone)) for each, queue, gone in queues if each is priority]
        totals: dict[int, Counts] = {}
        for one in waiting:
            for tenant_id, counts in one.counts.items():
                before = totals.get(tenant_id)
                if before is not None:
                    counts = (before[0] + counts[0], before[1] + counts[1], counts[2])
                totals[tenant_id] = counts
        return {tenant_id: _Owner(tenant_id, counts, self._scale, waiting) for tenant_id, counts in totals.items()}


def _newest_of_the_largest(
    owners: Sequence[_Owner], least: float, lacking: _Lacking
) -> list[tuple[FairQueue, WorkItem]]:
    """The newest input of the tenant that has most, and again, until enough is free or none has more than the ``least`` share."""
    plan: list[tuple[FairQueue, WorkItem]] = []
    heap = [(-owner.share, place, owner) for place, owner in enumerate(owners)]
    heapify(heap)
    while heap and not lacking.nothing():
        _, place, owner = heap[0]
        queue, item = owner.give_way()
        plan.append((queue, item))
        lacking.free([item])
        if owner.share > least:
            heapreplace(heap, (-owner.share, place, owner))
        else:
            heappop(heap)
    return plan


def _bytes(items: Sequence[WorkItem]) -> int:
    return sum([len(item.payload) for item in items])
