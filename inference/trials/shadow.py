"""Shadows: answered inputs are computed once more by a candidate, and both answers compared. No call waits for it or pays.

The path of a request only puts an input into a bounded list. A thread of its own reads the list, encodes inputs anew where
the candidate's schema differs, and submits them behind everything that a call waits for; while many are on their way,
further ones are dropped and counted.
"""

import logging
import threading
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from inference.batching.current import compute_unbilled
from inference.batching.work import WorkItem
from inference.inputs import canonical
from inference.trials import comparing, counting
from inference.trials.counting import SHADOW
from inference.types import ModelRef, Priority
from mlplatform.lib import clock
from mlplatform.lib.background import Ticker
from mlplatform.lib.errors import PlatformError

logger = logging.getLogger(__name__)

COMPARED, AGREED, FAILED, REFUSED, DROPPED = "compared", "agreed", "errors", "refused", "dropped"
DIFFERENCE: Final = "difference_ppm"
"""Differences are added up in millionths, because counts are whole numbers."""
MAX_UNDER_WAY: Final = 64
_PERIOD_S: Final = 0.1
_DEADLINE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Mirrored:
    """An input that the live version answered: its canonical bytes, what the call sent, whether a text may be cut
    (``inference.inputs.truncation``), and the scores it was given."""

    rollout_id: int
    candidate: ModelRef
    live: ModelRef
    payload: bytes
    sent: Any
    truncate: int
    given: bytes
    tenant_id: int
    shard: int


_waiting: deque[Mirrored] = deque()
_under_way: set[int] = set()
_lock = threading.Lock()


def backlog() -> int:
    """How many inputs wait or are computed now."""
    return len(_waiting) + len(_under_way)


def offer(mirrored: Mirrored) -> None:
    """Have it computed some time soon, or drop it; returns at once."""
    with _lock:
        full = backlog() >= MAX_UNDER_WAY
        if not full:
            _waiting.append(mirrored)
    if full:
        counting.add(mirrored.rollout_id, SHADOW, {DROPPED: 1})
    _ticker.ensure_started()


def send() -> None:
    """Submit everything that waits."""
    while True:
        with _lock:
            if not _waiting:
                return
            mirrored = _waiting.popleft()
        try:
            _submit(mirrored)
        except PlatformError:
            # The queue is full or the process stops: a shadow is the first to give way.
            counting.add(mirrored.rollout_id, SHADOW, {DROPPED: 1})


def _submit(mirrored: Mirrored) -> None:
    payload = _payload(mirrored)
    if payload is None:
        counting.add(mirrored.rollout_id, SHADOW, {REFUSED: 1})
        return
    with _lock:
        _under_way.add(id(mirrored))
    try:
        compute_unbilled(
            mirrored.candidate,
            payload,
            tenant_id=mirrored.tenant_id,
            shard=mirrored.shard,
            deadline=clock.monotonic() + _DEADLINE_S,
            done=partial(_done, mirrored),
            priority=Priority.BACKGROUND,
            truncate=mirrored.truncate,
        )
    except BaseException:
        with _lock:
            _under_way.discard(id(mirrored))
        raise


def _payload(mirrored: Mirrored) -> bytes | None:
    """The input as the candidate takes it; None where it refuses what the live version answered."""
    if mirrored.candidate.input_schema == mirrored.live.input_schema:
        return mirrored.payload
    try:
        return canonical.encode(mirrored.candidate.input_schema, mirrored.sent, field="input")
    except PlatformError:
        return None


def _done(mirrored: Mirrored, work: WorkItem) -> None:
    with _lock:
        _under_way.discard(id(mirrored))
    if work.scores is None:
        # A candidate that reads fewer tokens has not failed: it refuses, as it would by its schema.
        counting.add(mirrored.rollout_id, SHADOW, {REFUSED if work.length is not None else FAILED: 1})
        return
    found = comparing.compare(mirrored.live, mirrored.given, mirrored.candidate, work.scores)
    amounts = {COMPARED: 1, AGREED: int(found.agreed), DIFFERENCE: round(found.difference * 1_000_000)}
    counting.add(mirrored.rollout_id, SHADOW, amounts)


def forget() -> None:
    """Drop what waits; for tests."""
    with _lock:
        _waiting.clear()
        _under_way.clear()


_ticker = Ticker("shadow-sender", _PERIOD_S, send)
