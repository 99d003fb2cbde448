"""A queue in which a tenant with a thousand inputs does not make a tenant with one wait: deficit round robin."""

from collections import OrderedDict, deque

from inference.batching.work import WorkItem


class FairQueue:
    """Inputs of one model version, in turns over tenants. Not thread-safe: the batcher holds its lock.

    Every input costs the same here, so the deficit of each round is one input for each tenant: plain turns, where a
    tenant that was served goes to the end of the row.
    """

    def __init__(self) -> None:
        self._tenants: OrderedDict[int, deque[WorkItem]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def push(self, item: WorkItem) -> None:
        self._tenants.setdefault(item.hold.tenant_id, deque()).append(item)
        self._size += 1

    def oldest_queued_at(self) -> float | None:
        """When the input that waits longest was queued; None for an empty queue."""
        return min((items[0].queued_at for items in self._tenants.values()), default=None)

    def pop(self, limit: int) -> list[WorkItem]:
        """Up to ``limit`` inputs in turns over tenants; abandoned ones are dropped and do not count."""
        taken: list[WorkItem] = []
        while self._tenants and len(taken) < limit:
            tenant, items = next(iter(self._tenants.items()))
            item = items.popleft()
            self._size -= 1
            if items:
                self._tenants.move_to_end(tenant)
            else:
                del self._tenants[tenant]
            if not item.abandoned:
                taken.append(item)
        return taken
