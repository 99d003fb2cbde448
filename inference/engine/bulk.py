"""Calls of more inputs than are held one by one: a few holds for all of them, settled by the call itself in one step.

A hold for each of 2,048 inputs would keep the state Redis from all others for 36 ms, and workers that settle each for itself
would have charged what came in time when the rest did not. So the inputs of one kind (computed, answered by a cache, answered
with an equal input) share a hold and a usage record; workers settle nothing; and the whole is paid when all of it is answered.

Not all of it is queued at once: what waits of such a call leaves room for others, and other tenants have their turns between.
Other processes are not asked whether they compute an equal input just now: what is computed here is paid here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from django.conf import settings

from billing import charging
from billing.admission import Charge, Settlement
from billing.contracts import Contract
from inference.cache import single_flight, store
from inference.cache.waiters import SharedWork
from inference.engine import works
from inference.engine.computing import submit
from inference.engine.preparing import Prepared
from inference.engine.undo import Undo
from inference.types import CallContext
from mlplatform.lib.errors import ErrorKind, PlatformError, unavailable
from mlplatform.lib.ids import hex_id

MOST_HELD_APART: Final = 256
"""Inputs of a call that are held one by one; of a call with more, none is."""

_MOST_QUEUED: Final = 512


@dataclass(frozen=True, slots=True)
class Group:
    """Inputs of one model version and kind, which share a hold. ``cached`` are those that a cache has answered already."""

    items: Sequence[Prepared]
    cached: bool
    hold_id: str = field(default_factory=hex_id)

    @property
    def units(self) -> int:
        """What is held for them, or what they cost in the end."""
        return sum(item.units for item in self.items)

    @property
    def full_units(self) -> int:
        """What they would cost without a cache."""
        return sum(item.full_units for item in self.items)

    def settlement(self) -> Settlement:
        """Once all are answered."""
        return Settlement(hold_id=self.hold_id, units=self.units)


def groups(items: Sequence[Prepared], context: CallContext) -> list[Group]:
    """The inputs by kind: to be computed, answered by a cache, and equal to one that is computed."""
    repeats = repeated(items, context)
    kinds: dict[tuple[int, str], list[Prepared]] = {}
    for item in items:
        shared = item.joined is not None or item.hold_id in repeats
        kind = "cached" if item.entry is not None else "shared" if shared else "computed"
        kinds.setdefault((item.ref.version_id, kind), []).append(item)
    return [Group(alike, cached=kind == "cached") for (_, kind), alike in kinds.items()]


def charges(groups: Sequence[Group], contract: Contract, context: CallContext) -> Iterator[Charge]:
    """A charge for each group. The first of each model and of each version counts the call for it; the call itself has a charge
    of its own."""
    models: set[str] = set()
    versions: set[int] = set()
    for group in groups:
        ref = group.items[0].ref
        name = ref.qualified_name
        first_of_model, first_of_version = name not in models, ref.version_id not in versions
        models.add(name)
        versions.add(ref.version_id)
        record = charging.record(
            contract=contract,
            request_id=context.request_id,
            operation=context.operation,
            model=name,
            model_version=ref.version,
            api_version=context.api_version,
            inputs=len(group.items),
            cached=group.cached,
            requests=0,
            model_requests=int(first_of_model),
            version_requests=int(first_of_version),
            held_units=group.full_units,
            client=context.client,
        )
        yield Charge(group.hold_id, name, group.units, 0, record, int(first_of_model))


def repeated(items: Sequence[Prepared], context: CallContext) -> set[str]:
    """Hold ids of those that are equal to an input before them which is computed, and need not be computed again."""
    found: set[str] = set()
    seen: set[bytes] = set()
    for item in items if context.cache.read else ():
        if item.entry is None and item.joined is None and works.is_kept(item, context):
            if item.lease_key in seen:
                found.add(item.hold_id)
            seen.add(item.lease_key)
    return found


class BulkComputation:
    """The inputs of an admitted call while they are computed: :meth:`begin`, then :meth:`finish`; :meth:`lose` if one fails."""

    def __init__(self, contract: Contract, items: Sequence[Prepared], context: CallContext, deadline: float) -> None:
        self._contract = contract
        self._items = items
        self._context = context
        self._deadline = deadline
        self._own: list[tuple[Prepared, SharedWork]] = []
        self._submitted = 0
        self._window = max(1, min(_MOST_QUEUED, settings.MAX_QUEUED_INPUTS // 2))

    def begin(self, undo: Undo) -> None:
        """Queue the first of what must be computed; returns at once. Raises OVERLOADED where they find no room."""
        undo.callback(self.lose)
        first: dict[bytes, SharedWork] = {}
        repeats = repeated(self._items, self._context)
        for item in self._items:
            if item.entry is not None or item.joined is not None:
                continue
            if item.hold_id in repeats and first[item.lease_key].join(self._deadline):
                item.joined = first[item.lease_key]
                continue
            work = self._work(item)
            self._own.append((item, work))
            if work.cache_key:
                first[item.lease_key] = work
                single_flight.begin(item.lease_key, work, may_join=False)
        self._submit(self._window)

    def finish(self) -> dict[str, bytes | PlatformError]:
        """Wait for all. The scores by hold id; raises the problem of the first that has none, and then nothing is owed."""
        outcomes: dict[str, bytes | PlatformError] = {
            item.hold_id: item.entry.scores for item in self._items if item.entry is not None
        }
        for place, (item, work) in enumerate(self._own):
            if place >= self._submitted - self._window // 2:
                self._submit(place + self._window)
            scores = outcomes[item.hold_id] = self._answer(item, work)
            if work.cache_key:
                store.put_local(item.key, scores, ttl_s=item.ref.cache_ttl_s, length=work.length)
        for item, work in self._shared():
            outcomes[item.hold_id] = self._answer(item, work)
            self._bill(item, work)
        self._end()
        return outcomes

    def lose(self) -> None:
        """The call has failed: what is computed is not charged, and what was not queued is not computed."""
        for _, work in self._own:
            work.leave(unpaid=True)
        for item, _ in self._shared():
            item.leave()
        for _, work in self._own[self._submitted :]:
            work.fail(unavailable("The prediction was lost; please try again."))
        self._end()

    def _shared(self) -> Iterator[tuple[Prepared, SharedWork]]:
        return ((item, item.joined) for item in self._items if item.joined is not None and item.entry is None)

    def _end(self) -> None:
        for item, work in self._own:
            single_flight.end(item.lease_key, work)

    def _work(self, item: Prepared) -> SharedWork:
        payload = item.unpacked(contract=self._contract, until=self._deadline)
        return works.work_of(
            item, payload, hold_id="", contract=self._contract, context=self._context, deadline=self._deadline
        )

    def _submit(self, most: int) -> None:
        """Queue what comes next, until ``most`` of all were queued."""
        own = self._own[self._submitted : most]
        if own:
            submit(own)
            self._submitted += len(own)

    def _answer(self, item: Prepared, work: SharedWork) -> bytes:
        if not work.wait(self._deadline, self._context.cancellation):
            raise self._late()
        if work.scores is None:
            if work.length is not None:
                problem = item.refused(work.length)
            else:
                problem = work.error.copy() if work.error else unavailable("The prediction was lost; please try again.")
            problem.field = problem.field or f"{item.request.path}{item.request.field}"
            problem.detail = f"{problem.detail} Nothing was charged for the {len(self._items):,} inputs of this call."
            raise problem
        item.length = work.length
        return work.scores

    def _late(self) -> PlatformError:
        cancellation = self._context.cancellation
        works = chain((work for _, work in self._own), (work for _, work in self._shared()))
        fit = sum(work.scores is not None for work in works) + sum(item.entry is not None for item in self._items)
        what = (
            "The call was taken back" if cancellation and cancellation.canceled else "The model did not answer in time"
        )
        return PlatformError(
            ErrorKind.TIMEOUT,
            f"{what}: {fit:,} of {len(self._items):,} inputs were answered until then, and nothing was charged. Send fewer "
            "inputs in one call, or try again later.",
            retry_after_s=1.0,
        )

    def _bill(self, item: Prepared, work: SharedWork) -> None:
        if work.entry is not None:
            item.entry, item.units = work.entry, item.cached_units
        elif work.claim_charge():
            item.claimed_charge = True
        else:
            item.units = item.cached_units
