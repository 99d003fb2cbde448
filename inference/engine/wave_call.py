"""A call on its way through the engine: what it asks, what it has taken so far, and what became of it."""

import asyncio
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from billing.admission import Decision, Limit
from billing.contracts import Contract
from inference.engine.preparing import Prepared
from inference.engine.shared_holds import SharedHold
from inference.engine.works import Computed
from inference.registry.live import LiveVersions
from inference.types import CallContext

Done = Callable[["WaveCall"], None]


@dataclass(slots=True, eq=False)
class WaveCall:
    """Belongs to the loop's thread from when it is handed to the waves until ``done`` is called with it, which is once.

    It is admitted with all of its ``items`` or not at all; each item has its ``outcome`` in the end. ``limits`` are those that
    concern its models, ``fee`` is what it pays beside its inputs when it is answered. ``started`` and ``deadline`` are on the
    monotonic clock. ``decided`` is called when it is known whether it is admitted.

    ``whole``: no part of the answer is of use without the rest. ``is_bulk``: its inputs share a few holds, see
    :mod:`inference.engine.shared_holds`.
    """

    contract: Contract
    context: CallContext
    items: Sequence[Prepared]
    limits: tuple[Limit, ...]
    served: LiveVersions
    started: float
    deadline: float
    done: Done | None
    decided: Done | None = None
    fee: int = 0
    whole: bool = False
    is_bulk: bool = False
    decision: Decision | None = None
    problem: Exception | None = None
    """Of the call as a whole; its items may have problems of their own."""
    shared_holds: Sequence[SharedHold] = ()
    fee_hold_id: str = ""
    """Of the charge that counts a call of several inputs or with a fee: which inputs fail makes no difference to how many calls
    there were."""
    unqueued: Sequence[Computed] = ()
    """What a bulk call queues later."""
    queued: int = 0
    """How many of a bulk call's computations are queued or under way."""
    waits_for: int = 0
    """How many items have no outcome yet, since its dispatch."""
    is_cached: bool = False
    """Whether caches have answered all of it before admission, so that it is metered at once."""
    has_permit: bool = False
    is_held: bool = False
    """Whether units are held for it, which must be settled or given back."""
    is_admitted: bool = False
    released: AbstractSet[str] = frozenset()
    """Holds that were given back unsettled when its time was over."""
    is_ending: bool = False
    """Whether it waits no more, and only gives back what it has taken."""
    has_ended: bool = False
    timer: asyncio.TimerHandle | None = field(default=None, repr=False)

    @property
    def request_id(self) -> str:
        """Its own among several that came together."""
        return self.items[0].request.call_id or self.context.request_id

    @property
    def hold_ids(self) -> list[str]:
        """Everything that is held for it."""
        holds: Sequence[SharedHold | Prepared] = self.shared_holds or self.items
        ids = [each.hold_id for each in holds]
        return [self.fee_hold_id, *ids] if self.fee_hold_id else ids

    def begin_anew(self, *, done: Done, decided: Done | None) -> None:
        """Be as before the waves: nothing was taken, and what was found may have gone since."""
        self.problem = None
        self.has_ended = False
        self.done, self.decided = done, decided
        for item in self.items:
            item.begin_anew()
