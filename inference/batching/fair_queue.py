"""A queue in which a tenant with a thousand inputs does not make a tenant with one wait: round robin with debts."""

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from inference.batching.policy import Draft
from inference.batching.work import WorkItem


@dataclass(slots=True)
class Totals:
    """What waits in all of the queues that share it: inputs, and the bytes of their payloads."""

    inputs: int = 0
    bytes: int = 0


@dataclass(slots=True)
class _Tenant:
    """One tenant's inputs by how long they are: bucket n has sizes from 2ⁿ⁻¹ to 2ⁿ - 1."""

    weight: int
    buckets: dict[int, deque[WorkItem]] = field(default_factory=dict)
    inputs: int = 0
    tokens: int = 0
    bytes: int = 0
    deficit: float = 0.0

    def push(self, item: WorkItem) -> None:
        self.weight = item.weight
        self._count(item, 1)
        self.buckets.setdefault(item.size.bit_length(), deque()).append(item)

    def oldest(self, draft: Draft) -> WorkItem | None:
        """The input that waits longest among those that the batch can take."""
        heads = [items[0] for items in self.buckets.values() if draft.fits(items[0].size)]
        return min(heads, key=lambda item: item.queued_at, default=None)

    def save_up(self, quantum: int) -> None:
        """A turn in which nothing fitted counts for the input that waits longest, and for no more than that one."""
        oldest = min((items[0] for items in self.buckets.values()), key=lambda item: item.queued_at)
        self.deficit = max(self.deficit, min(self.deficit + self.weight * quantum, oldest.size))

    def remove_head(self, item: WorkItem) -> None:
        """Take the first of its bucket away."""
        number = item.size.bit_length()
        self._count(self.buckets[number].popleft(), -1)
        if not self.buckets[number]:
            del self.buckets[number]

    def remove(self, items: Sequence[WorkItem]) -> None:
        """Take these away, wherever they stand."""
        removed = set(items)
        for number in {item.size.bit_length() for item in items}:
            self.buckets[number] = deque([item for item in self.buckets[number] if item not in removed])
            if not self.buckets[number]:
                del self.buckets[number]
        for item in items:
            self._count(item, -1)

    def newest_first(self, without: AbstractSet[WorkItem]) -> Iterator[WorkItem]:
        """Everything but what is ``without``, which stays where it is."""
        stacks = [[item for item in items if item not in without] for items in self.buckets.values()]
        while stacks := [stack for stack in stacks if stack]:
            yield max(stacks, key=lambda stack: stack[-1].queued_at).pop()

    def _count(self, item: WorkItem, sign: int) -> None:
        self.inputs += sign
        self.tokens += sign * item.size
        self.bytes += sign * len(item.payload)

    def items(self) -> Iterator[WorkItem]:
        for items in self.buckets.values():
            yield from items


class FairQueue:
    """Inputs of one model version and priority, in turns over tenants. Not thread-safe: the batcher holds its lock.

    A turn is worth the tenant's weight times the smallest input that waits: equal tenants with equal inputs take plain
    turns, and a tenant that was served goes to the end of the row. An input that is worth more is served too, and
    paid for with later turns (surplus round robin), so that a tenant with a single one does not wait until it has saved up.

    A tenant that had nothing that fits beside the others stays at the front: the next batch begins with it, or a long text
    among short ones would wait for ever. A tenant that comes with nothing waiting goes to the front too, unless it did so less
    than a whole round ago: tenants that ask now and then do not wait behind those with a backlog, and none gets more than a turn
    in a round.
    """

    def __init__(self, totals: Totals | None = None) -> None:
        self._totals = totals or Totals()
        self._tenants: OrderedDict[int, _Tenant] = OrderedDict()
        self._new: dict[int, None] = {}
        """The tenants that came since the last batch and go to the front, in the order in which they came."""
        self._overlooked: list[int] = []
        self._turns = 0
        self._back_at: dict[int, int] = {}
        """The turn from which on a tenant that was served empty may go to the front again."""
        self._size = 0
        self.tokens = 0
        self.bytes = 0

    def __len__(self) -> int:
        return self._size

    def push(self, item: WorkItem) -> None:
        tenant = self._tenants.get(item.hold.tenant_id)
        if tenant is None:
            tenant = self._tenants[item.hold.tenant_id] = _Tenant(item.weight)
            if self._turns >= self._back_at.pop(item.hold.tenant_id, 0):
                self._new[item.hold.tenant_id] = None
        tenant.push(item)
        self._count(item, 1)

    def oldest_queued_at(self) -> float | None:
        """When the input that waits longest was queued; None for an empty queue."""
        heads = (items[0].queued_at for tenant in self._tenants.values() for items in tenant.buckets.values())
        return min(heads, default=None)

    def tenants(self) -> dict[int, tuple[int, int]]:
        """Tokens and weight of each tenant that waits."""
        return {tenant_id: (tenant.tokens, tenant.weight) for tenant_id, tenant in self._tenants.items()}

    def counts(self, without: Iterable[WorkItem] = ()) -> dict[int, tuple[int, int, int]]:
        """Inputs, their bytes, and weight of each tenant that waits, as if what is ``without`` did not."""
        counts = {
            tenant_id: (tenant.inputs, tenant.bytes, tenant.weight) for tenant_id, tenant in self._tenants.items()
        }
        for item in without:
            inputs, size, weight = counts[item.hold.tenant_id]
            counts[item.hold.tenant_id] = (inputs - 1, size - len(item.payload), weight)
        return {tenant_id: each for tenant_id, each in counts.items() if each[0]} if without else counts

    def newest_first(self, tenant_id: int, without: AbstractSet[WorkItem]) -> Iterator[WorkItem]:
        """The tenant's inputs but for what is ``without``; they stay in the queue."""
        return self._tenants[tenant_id].newest_first(without)

    def abandoned(self) -> list[WorkItem]:
        """The inputs for which no call waits any more; they stay in the queue."""
        return [
            item
            for tenant in self._tenants.values()
            for items in tenant.buckets.values()
            for item in items
            if item.abandoned
        ]

    def fill(self, draft: Draft) -> list[WorkItem]:
        """Inputs for one batch, in turns over tenants; abandoned ones are dropped and do not count."""
        self.purge()
        self._to_the_front([*self._new])
        self._new.clear()
        self._to_the_front(self._overlooked)
        quantum = self._smallest()
        taken: list[WorkItem] = []
        served: set[int] = set()
        overlooked: dict[int, None] = {}  # tenants that had nothing which fits and got nothing, in their order
        passed = 0  # tenants in a row that had nothing which fits
        while self._tenants and passed < len(self._tenants) and not draft.full:
            tenant_id, tenant = next(iter(self._tenants.items()))
            item = tenant.oldest(draft)
            if item is None:
                passed += 1
                tenant.save_up(quantum)
                if tenant_id not in served:
                    overlooked[tenant_id] = None
                self._tenants.move_to_end(tenant_id)
                continue
            passed = 0
            if tenant.deficit <= 0:
                tenant.deficit += tenant.weight * quantum
            if tenant.deficit <= 0:
                self._tenants.move_to_end(tenant_id)  # It pays for a long one that was served before.
                continue
            tenant.deficit -= item.size
            tenant.remove_head(item)
            self._count(item, -1)
            draft.add(item.size)
            taken.append(item)
            served.add(tenant_id)
            overlooked.pop(tenant_id, None)
            if not tenant.buckets:
                del self._tenants[tenant_id]  # A tenant with nothing waiting saves nothing up.
                self._turns += 1
                self._back_at[tenant_id] = self._turns + len(self._tenants)
            elif tenant.deficit <= 0:
                self._turns += 1
                self._tenants.move_to_end(tenant_id)
        self._overlooked = list(overlooked)
        self._forget_rounds()
        return taken

    def _to_the_front(self, tenant_ids: list[int]) -> None:
        """In their order, those of them that still wait."""
        for tenant_id in reversed(tenant_ids):
            if tenant_id in self._tenants:
                self._tenants.move_to_end(tenant_id, last=False)

    def _forget_rounds(self) -> None:
        if not self._tenants:
            self._back_at.clear()
        elif len(self._back_at) > 2 * len(self._tenants) + 64:
            self._back_at = {tenant: turn for tenant, turn in self._back_at.items() if turn > self._turns}

    def purge(self) -> int:
        """Drop the inputs for which no call waits any more; how many."""
        # Callers leave meanwhile, so each input is asked once: those that are removed must be those that are counted.
        gone = self.abandoned()
        self.drop(gone)
        return len(gone)

    def drop(self, items: Iterable[WorkItem]) -> None:
        """Take these away, wherever they stand in the queue."""
        by_tenant: dict[int, list[WorkItem]] = {}
        for item in items:
            by_tenant.setdefault(item.hold.tenant_id, []).append(item)
            self._count(item, -1)
        for tenant_id, gone in by_tenant.items():
            tenant = self._tenants[tenant_id]
            tenant.remove(gone)
            if not tenant.buckets:
                del self._tenants[tenant_id]
                self._new.pop(tenant_id, None)

    def clear(self) -> list[WorkItem]:
        """Empty the queue and give what was in it."""
        everything = [item for tenant in self._tenants.values() for item in tenant.items()]
        self._tenants.clear()
        self._new.clear()
        for item in everything:
            self._count(item, -1)
        return everything

    def _smallest(self) -> int:
        sizes = (items[0].size for tenant in self._tenants.values() for items in tenant.buckets.values())
        return min(sizes, default=1)

    def _count(self, item: WorkItem, sign: int) -> None:
        size = sign * len(item.payload)
        self._size += sign
        self.tokens += sign * item.size
        self.bytes += size
        self._totals.inputs += sign
        self._totals.bytes += size
