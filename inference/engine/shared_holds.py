"""Calls of more inputs than are held one by one: a few holds for all of them, settled by the call itself in one step.

A hold for each of 2,048 inputs would keep the state Redis from all others for 36 ms, and workers that settle each for itself
would have charged what came in time when the rest did not. So the inputs of one kind (computed, answered by a cache, answered
with an equal input) share a hold and a usage record; workers settle nothing; and the whole is paid when all of it is answered.

Not all of it is queued at once: what waits of such a call leaves room for others, and other tenants have their turns between.
Other processes are not asked whether they compute an equal input just now: what is computed here is paid here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from billing.admission import Settlement
from inference.engine import works
from inference.engine.preparing import Prepared
from inference.types import CallContext
from mlplatform.lib.ids import hex_id

MOST_HELD_APART: Final = 256
"""Inputs of a call that are held one by one; of a call with more, none is."""


@dataclass(frozen=True, slots=True)
class SharedHold:
    """That of inputs of one model version and kind. ``cached`` are those that a cache has answered already."""

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


def shared_holds(items: Sequence[Prepared], context: CallContext) -> list[SharedHold]:
    """One for each kind of inputs: to be computed, answered by a cache, and equal to one that is computed."""
    again = repeated(items, context)
    kinds: dict[tuple[int, str], list[Prepared]] = {}
    for item in items:
        shared = item.joined is not None or item.hold_id in again
        kind = "cached" if item.entry is not None else "shared" if shared else "computed"
        kinds.setdefault((item.ref.version_id, kind), []).append(item)
    return [SharedHold(alike, cached=kind == "cached") for (_, kind), alike in kinds.items()]


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
