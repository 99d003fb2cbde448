"""What becomes of a batch that has no reply: when it counts as lost, and who is answered by a reply that comes after all."""

from collections.abc import Sequence
from enum import Enum, auto
from typing import Final

from inference.batching.lanes import InFlightBatch
from inference.batching.work import WorkItem

MIN_RESEND_S: Final = 2.0
MIN_GIVE_UP_S: Final = 10.0  # a worker that was killed has come back and loaded its models by then
_PATIENCE: Final = 4.0  # times as long as a batch usually takes


class Step(Enum):
    """What is to be done about a batch that is on its way."""

    WAIT = auto()
    SEND_AGAIN = auto()
    """Its worker seems to have been lost with it."""
    SPLIT = auto()
    """Lost twice: an input of it may be what kills its workers, so each gets another chance by itself, and only that one is
    lost with the next worker. Halving would take a caller's time several times over."""
    LOST = auto()
    """Lost twice, and alone: it gets no other chance."""
    FORGET = auto()
    """Nobody waits for it."""


def next_step(sent: InFlightBatch, *, broker_wait_s: float, now: float) -> Step:
    """``broker_wait_s`` is the workers' time for what waits in the broker. That comes first: a batch behind it is late, not
    lost, and to send it twice would make it later."""
    # Past its deadline no worker computes a batch, and of inputs for which no call waits nobody says so.
    if all(item.abandoned or item.deadline < now - MIN_RESEND_S for item in sent.items):
        return Step.FORGET
    patience_s = broker_wait_s + _PATIENCE * max(sent.lane.batch_s, sent.left_s)
    least_s = max(MIN_GIVE_UP_S if sent.losses else MIN_RESEND_S, sent.lane.ref.batch_limit_s)
    if now - sent.sent_at <= max(least_s, patience_s):
        return Step.WAIT
    if not sent.losses:
        return Step.SEND_AGAIN
    return Step.SPLIT if len(sent.wanted) > 1 else Step.LOST


class GivenUp:
    """The inputs of batches that are not waited for any more (sent one by one, or too late), for a late reply."""

    def __init__(self) -> None:
        self._inputs: dict[str, Sequence[WorkItem]] = {}

    def __len__(self) -> int:
        return len(self._inputs)

    def add(self, sent: InFlightBatch) -> None:
        self._inputs[sent.message.batch_id] = sent.items

    def get(self, batch_id: str) -> Sequence[WorkItem] | None:
        return self._inputs.get(batch_id)

    def forget(self) -> None:
        """Drop those for whose inputs nobody waits any more."""
        if self._inputs:
            self._inputs = {
                batch_id: items for batch_id, items in self._inputs.items() if not all(item.abandoned for item in items)
            }
