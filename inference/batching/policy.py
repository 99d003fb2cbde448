"""When a batch goes, what may be in it, and how long an input will wait: pure functions of what is known.

The rules, which tests prove with hypothesis:

- While a worker is free an input goes at once (or after the version's ``max_queue_delay``). While all are busy, inputs
  gather; one batch may be sent ahead for each worker, when it is full or when its oldest input has waited as long as a
  batch takes, so that a worker never idles and batches are not cut small.
- A batch has at most ``max_batch_size`` inputs and ``max_batch_tokens`` tokens. Texts that are much longer than the rest
  of a batch go in another one, so that short ones do not pay for them.
- While several tenants want the same workers, a batch is kept so short that no tenant waits long behind another, but of several
  inputs where a model takes long for one.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from inference.batching.speed import Speed

SHORT: Final = 32
"""Tokens below which the length of a text makes no difference to its neighbours."""

_PADDING: Final = 2.0  # a batch padded to its longest text may be at most this many times its tokens
_TIMES_FIXED: Final = 6.0  # a shared batch may take so many times what each batch takes
_TIMES_ALONE: Final = 3.0  # and so many times what one input takes alone
_SPREAD: Final = 4.0  # the longest text of a batch may be this many times as long as the shortest


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one batch of a version may hold; 0 tokens: no bound. The delay is in seconds."""

    max_size: int
    max_tokens: int = 0
    max_delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Pool:
    """Workers of a pool as this process knows them.

    ``in_flight`` batches of this process are on their way; ``others_waiting`` batches of other processes wait in the broker.
    """

    workers: int
    per_worker: int
    in_flight: int
    others_waiting: int = 0
    ahead_in_s: float = 0.0
    """How long nothing is sent ahead of busy workers: while tenants compete, until one of them is nearly free, so that who
    comes meanwhile is in the next batch and not behind it."""

    @property
    def bound(self) -> int:
        """How many batches of this process may be on their way: fewer when other processes keep the workers busy."""
        return max(1, self.workers * self.per_worker - max(0, self.others_waiting - self.workers))

    @property
    def full(self) -> bool:
        """Whether no batch may go, whatever waits."""
        return self.in_flight >= self.bound


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits for one version: inputs, their tokens, since when (seconds), and how long its batches take."""

    inputs: int
    tokens: int
    oldest_s: float
    batch_s: float


def pause_s(waiting: Waiting, bounds: Bounds, pool: Pool) -> float | None:
    """Seconds until a batch may go: 0 for now, None for not before one comes back."""
    if not waiting.inputs or pool.full:
        return None
    free = pool.in_flight < pool.workers
    least = 0.0 if free else pool.ahead_in_s
    if waiting.inputs >= bounds.max_size or (bounds.max_tokens and waiting.tokens >= bounds.max_tokens):
        return least
    patience = bounds.max_delay_s if free else max(waiting.batch_s, bounds.max_delay_s)
    return max(least, patience - waiting.oldest_s)


def shared_batch_s(least_s: float, speed: Speed) -> float:
    """How long a batch may take while tenants compete; ``least_s`` 0: for ever.

    Where much of a batch is what each batch takes, it is of several inputs even so, or workers would do a fraction of what they
    can. But it takes no longer than three inputs, each alone.
    """
    worth_s = min(_TIMES_FIXED * speed.fixed_s, _TIMES_ALONE * speed.alone_s)
    return max(least_s, worth_s) if least_s else 0.0


@dataclass(slots=True)
class Draft:
    """A batch while it is filled. ``max_seconds`` bounds it while tenants compete: 0 for no bound."""

    bounds: Bounds
    speed: Speed = field(default_factory=Speed)
    max_seconds: float = 0.0
    inputs: int = 0
    tokens: int = 0
    longest: int = 0
    shortest: int = 0

    @property
    def full(self) -> bool:
        """Whether nothing more fits, whatever it is."""
        return self.inputs >= self.bounds.max_size or self._too_much(self.tokens + 1)

    def fits(self, size: int) -> bool:
        """Whether an input of ``size`` tokens may join. The first one always may, or it would wait for ever."""
        if not self.inputs:
            return True
        if self.inputs >= self.bounds.max_size or self._too_much(self.tokens + size):
            return False
        return self._alike(size)

    def add(self, size: int) -> None:
        """The input joined."""
        self.inputs += 1
        self.tokens += size
        self.longest = max(self.longest, size)
        self.shortest = min(self.shortest or size, size)

    def _too_much(self, tokens: int) -> bool:
        if self.bounds.max_tokens and tokens > self.bounds.max_tokens:
            return True
        return bool(self.max_seconds) and self.inputs > 0 and self.speed.batch_s(tokens) > self.max_seconds

    def _alike(self, size: int) -> bool:
        longest, shortest = max(self.longest, size, SHORT), max(min(self.shortest, size), SHORT)
        padded = longest * (self.inputs + 1)
        return longest <= _SPREAD * shortest and padded <= _PADDING * max(self.tokens + size, SHORT * (self.inputs + 1))


@dataclass(frozen=True, slots=True)
class Backlog:
    """What one tenant has waiting, in seconds of a worker's time, and its weight."""

    tenant_id: int
    seconds: float
    weight: int


def expected_wait_s(
    *,
    own_s: float,
    tenant_id: int,
    weight: int,
    backlogs: Collection[Backlog],
    in_flight_s: float,
    workers: int,
    busy_for_others: float = 0.0,
) -> float:
    """How long an input that comes now will wait for its answer, its own computing included.

    ``own_s`` is its computing time, ``in_flight_s`` that of batches which were sent and cannot be overtaken. Tenants are
    served in turns by weight, so of another's backlog only as much comes first as its weight earns until ours is done. Behind a
    long backlog of its own the tenant also meets what others ask for meanwhile: ``busy_for_others`` workers compute for them, by
    what they got lately, but never more than their weights earn.
    """
    workers, weight = max(1, workers), max(1, weight)
    mine = own_s + sum(each.seconds for each in backlogs if each.tenant_id == tenant_id)
    others = [each for each in backlogs if each.tenant_id != tenant_id]
    ahead = sum(min(each.seconds, mine / weight * max(1, each.weight)) for each in others)
    earned = workers * weight / (weight + sum(max(1, each.weight) for each in others))
    left = max(earned, workers - busy_for_others)
    return in_flight_s / workers + max((mine + ahead) / workers, mine / left)


def size_of(payload: bytes, *, text: bool) -> int:
    """What an input costs in tokens: about a token for four bytes of text, and 1 for what is no text."""
    return max(1, math.ceil(len(payload) / 4)) if text else 1
