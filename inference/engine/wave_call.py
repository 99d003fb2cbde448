"""A call of one input on its way through the engine: what it asks, what it has taken so far, and what became of it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from billing.admission import Decision, Limit
from billing.contracts import Contract
from inference.cache.waiters import SharedWork
from inference.engine.preparing import Prepared
from inference.registry.live import LiveVersions
from inference.types import CallContext

Outcome = bytes | Exception
"""Scores as float32 bytes, or the problem."""


@dataclass(slots=True, eq=False)
class WaveCall:
    """Belongs to the loop's thread from when it is handed to the waves until ``done`` is called with it, which is once.

    ``limits`` are those that concern its model. ``started`` and ``deadline`` are on the monotonic clock. ``decided`` is called
    when it is known whether it is admitted.
    """

    contract: Contract
    context: CallContext
    item: Prepared
    limits: tuple[Limit, ...]
    served: LiveVersions
    started: float
    deadline: float
    done: Callable[["WaveCall"], None]
    decided: Callable[["WaveCall"], None] | None = None
    decision: Decision | None = None
    outcome: Outcome | None = None
    work: SharedWork | None = None
    """Its own computation; an equal one that it waits for stands in its item."""
    has_permit: bool = False
    is_held: bool = False
    """Whether units are held for it, which must be settled or given back."""
    is_admitted: bool = False
    is_ending: bool = False
    """Whether it waits no more, and only gives back what it has taken."""
    timer: asyncio.TimerHandle | None = field(default=None, repr=False)

    @property
    def request_id(self) -> str:
        """Its own among several that came together."""
        return self.item.request.call_id or self.context.request_id

    @property
    def is_cached(self) -> bool:
        """Whether a cache has answered it before admission, so that it is metered at once."""
        return self.item.entry is not None

    def begin_anew(self, *, decided: Callable[["WaveCall"], None] | None) -> None:
        """Be as before the waves: nothing was taken, and what was found may have gone since."""
        self.outcome = None
        self.item.entry = self.item.joined = None
        self.item.left = False
        self.item.units = self.item.full_units
        self.decided = decided
