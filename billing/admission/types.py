"""What goes into admission and what comes out: frozen, checked when made, free of Redis."""

import datetime as dt
import math
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from fractions import Fraction
from typing import Final, Literal

_EXACT: Final = 2**53
_MICRO: Final = 1_000_000
_FINEST_SCALE: Final = 1_000_000

MAX_AMOUNT: Final = 9_000_000_000
"""The largest amount of a limit: the script counts in millionths, exactly, in doubles."""
MAX_WINDOW_S: Final = 1_000_000_000
"""The longest window: 31 years."""
MAX_CHARGES: Final = 1_000
"""Charges of one call."""
MAX_HOLD_TTL_S: Final = 86_400.0
"""A hold lives no longer than a day; the script takes a later expiry for one written before the clock stepped back."""


class LimitKind(StrEnum):
    """How a limit counts."""

    TOKEN_BUCKET = "token_bucket"  # noqa: S105 - a kind of limit
    FIXED_WINDOW = "fixed_window"
    SLIDING_WINDOW = "sliding_window"
    MONTHLY = "monthly"
    CONCURRENCY = "concurrency"


def refill_of(*, amount: int, rate: float) -> tuple[int, int]:
    """The rate of a bucket of this capacity as whole numbers (p, q), where p / q units a second is the rate.

    q is bounded so that the level of a full bucket, counted in 1 / (q · 1,000,000) units, is exact in a double;
    each microsecond then refills exactly p such quanta. Raises ValueError when the rate cannot be met to within
    a millionth, which happens only to buckets that take years to fill.
    """
    if not (math.isfinite(rate) and 0 < rate <= MAX_AMOUNT):
        raise ValueError("a token bucket needs a refill rate above 0")
    finest = min(_FINEST_SCALE, max(1, (_EXACT - 1) // (max(amount, 1) * _MICRO)))
    exact = Fraction(rate).limit_denominator(finest)
    if not abs(float(exact) / rate - 1) <= 1e-6:
        raise ValueError(f"a refill of {rate:g} a second is too slow for a bucket of {amount:,}")
    return exact.numerator, exact.denominator


@dataclass(frozen=True, slots=True)
class Limit:
    """One rule of a caller. Raises ValueError for a rule that could not be counted exactly.

    ``id`` is the stable name of its state within the tenant, such as ``tenant:burst``, ``key:<key id>:burst`` or
    ``model:<model>:burst``; ``name`` is shown in headers; ``source`` tells people who set it, such as ``plan Pro``.
    ``amount`` is the capacity of a bucket, the quota of a window or month, or the number of concurrent requests;
    ``window_s`` is the length of a fixed or sliding window, ``rate`` what a bucket gains a second.
    """

    id: str
    name: str
    kind: LimitKind
    counts: Literal["units", "requests"]
    scope: Literal["tenant", "key", "model"]
    subject: str
    amount: int
    window_s: int = 0
    rate: float = 0.0
    source: str = ""

    def __hash__(self) -> int:
        # Limits are looked up in memos for every call; the id alone tells them apart well enough.
        return hash(self.id)

    def __post_init__(self) -> None:
        if not self.id or self.id.startswith("+"):
            raise ValueError("a limit needs an id, which does not look like a hold's")
        if not 0 <= self.amount <= MAX_AMOUNT:
            raise ValueError(f"limit {self.id}: the amount must be from 0 to {MAX_AMOUNT:,}")
        if self.kind in {LimitKind.FIXED_WINDOW, LimitKind.SLIDING_WINDOW} and not 1 <= self.window_s <= MAX_WINDOW_S:
            raise ValueError(f"limit {self.id}: a window needs a length of at least 1 s")
        if (self.scope == "model") != bool(self.subject):
            raise ValueError(f"limit {self.id}: name the model for a limit of one model, and only then")
        if self.kind is LimitKind.TOKEN_BUCKET:
            self.refill()

    def refill(self) -> tuple[int, int]:
        """A bucket's rate as whole numbers; see :func:`refill_of`, which raises ValueError."""
        try:
            return refill_of(amount=self.amount, rate=self.rate)
        except ValueError as error:
            raise ValueError(f"limit {self.id}: {error}") from error


@dataclass(frozen=True, slots=True)
class Subject:
    """The spender: the tenant and its shard, the key, and the versions that the caller was read with."""

    tenant_id: int
    shard: int
    key_id: str
    tenant_version: int
    key_version: int


@dataclass(frozen=True, slots=True)
class Charge:
    """One input, or one call fee, to be admitted; each gets a hold of its own.

    ``hold_id`` is made by the server and fresh for every try, never the client's request id, which a client could
    send again for free calls. ``model`` is empty for a call fee. ``requests`` is 1 for the one charge that counts the call,
    ``model_requests`` for the first of each model in it, which limits of one model count. ``record`` is the usage record
    but for its id, moment and units; it goes to the shard's stream unread when the hold is settled.
    """

    hold_id: str
    model: str
    units: int
    requests: int
    record: bytes
    model_requests: int = 1

    def __post_init__(self) -> None:
        # Written out: this runs for every input.
        if not (
            self.hold_id
            and 0 <= self.units <= MAX_AMOUNT
            and 0 <= self.requests <= MAX_AMOUNT
            and 0 <= self.model_requests <= MAX_AMOUNT
        ):
            raise ValueError("a charge needs a hold id, and units and requests from 0 up")


@dataclass(frozen=True, slots=True)
class LimitState:
    """One limit after the decision (after taking, when granted).

    ``reset_s``: seconds until it is whole again if nothing more is taken. ``wait_s``: 0 unless it refused; then the
    exact seconds after which it lets this charge through if no other call takes; infinite when the charge is larger than
    the limit can ever let through; for concurrency, where it cannot be known, 1.
    """

    limit: Limit
    remaining: int
    reset_s: float
    wait_s: float
    refused: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """``wait_s`` is 0 when granted, else the longest wait of the refusing limits; infinite: split the batch.

    ``charges`` are those that were decided on; none for a look that takes nothing.
    """

    granted: bool
    states: tuple[LimitState, ...]
    wait_s: float
    charges: tuple[Charge, ...] = ()

    @property
    def hold_ids(self) -> tuple[str, ...]:
        """The holds that were made; none when refused."""
        return tuple([charge.hold_id for charge in self.charges]) if self.granted else ()


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of a hold: ``units`` that were used, at most those held; None for all of them."""

    hold_id: str
    units: int | None = None


class Settled(IntEnum):
    """What settling a hold did."""

    GONE = 0
    """It was released or had expired, so its caller was told that nothing would be charged: nothing is."""
    NOW = 1
    BEFORE = 2
    """A retry; it is charged once."""
    LATE = 3
    """The server came to it after the deadline: nothing was done, and it may be tried again."""


@dataclass(frozen=True, slots=True)
class RefusedLimit:
    """One limit at the moment of a refusal; the fields mean what they mean in :class:`Limit` and :class:`LimitState`.

    ``asked`` is what the call would have taken from it.
    """

    id: str
    name: str
    kind: LimitKind
    counts: str
    scope: str
    subject: str
    amount: int
    window_s: float
    rate: float
    source: str
    asked: int
    remaining: int
    reset_s: float
    wait_s: float
    refused: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refused call of the last 24 hours: when, and every limit at that moment.

    ``would_pass_at`` is None when it never would. ``key_id`` is the key's public id, and ``models`` are the first models that
    the call named; both are empty for a refusal that was kept before they were.
    """

    request_id: str
    at: dt.datetime
    limits: tuple[RefusedLimit, ...]
    wait_s: float
    would_pass_at: dt.datetime | None
    key_id: str = ""
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusals:
    """Refused calls of the last 24 hours, the newest first: how many are kept, and those of them that were asked for."""

    count: int
    newest: tuple[Refusal, ...]
