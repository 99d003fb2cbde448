"""The decision: one script call, its answer read, and the two answers after which the script is asked again."""

import math
from collections.abc import Callable, Sequence
from typing import Final

import redis
from django.conf import settings
from django.db import Error as DatabaseError
from prometheus_client import Counter

from billing.admission import connection, keys, packing, scripts, server_clock
from billing.admission.failures import closed_on_failure, failed, reason_of
from billing.admission.types import MAX_HOLD_TTL_S, Charge, Decision, Limit, LimitState, Subject
from mlplatform.lib import tally
from mlplatform.lib.errors import ErrorKind, PlatformError
from mlplatform.lib.redis import FAILURES, state
from tenants.guards import StaleCaller

MonthToDate = Callable[[Limit, Subject], int]
"""What a monthly limit has counted since the first of this month (UTC), by the ledger in SQL."""

ADMISSIONS: Final = Counter("mlplatform_admissions_total", "Decisions of admission, by outcome.", ["outcome"])

_granted, _refused, _stale = (ADMISSIONS.labels(outcome) for outcome in ("granted", "refused", "stale"))
_TRIES = 4
_SECONDS = 1e-6


# The script's answers.
_GRANTED, _REFUSED, _STALE, UNKNOWN, _CONFLICT, LATE = range(6)


def admit(
    *,
    subject: Subject,
    limits: Sequence[Limit],
    charges: Sequence[Charge],
    request_id: str,
    hold_ttl_s: float,
    month_to_date: MonthToDate,
    settle_now: bool = False,
    client: redis.Redis | None = None,
) -> Decision:
    """Take every charge from every limit that applies to it, or nothing from any.

    Granted, each charge is a hold that lives ``hold_ttl_s`` (at most a day) and must be settled or released; with
    ``settle_now`` (a cache hit) it is metered in the same step instead and takes no concurrency. A refusal is kept
    for ``explain`` under the request id. The same hold ids again are answered as the first time and take nothing.

    Raises StaleCaller when the key or tenant changed since the caller was read; PlatformError UNAVAILABLE on any
    failure of Redis, or of SQL while a lost monthly counter is rebuilt; CONFLICT when a hold id was released before
    or is known only in part; ValueError for arguments that no caller may pass.
    """
    if not 0 < hold_ttl_s <= MAX_HOLD_TTL_S:
        raise ValueError("a hold lives more than no time and at most a day")
    answer = _ask(
        client=client or state(),
        subject=subject,
        limits=tuple(limits),
        charges=charges,
        request_id=request_id,
        hold_ttl_s=hold_ttl_s,
        settle_now=settle_now,
        month_to_date=month_to_date,
    )
    return _or_raise(told(answer, limits, tuple(charges)))


def told(answer: list[int], limits: Sequence[Limit], charges: tuple[Charge, ...]) -> Decision | Exception:
    """What the script's answer says: a decision, or what it is for the caller. Counts it, but for a look without charges."""
    outcome = answer[0]
    if outcome in {_GRANTED, _REFUSED}:
        decision = _decision(answer, limits, charges)
        if charges:
            tally.count(_granted if decision.granted else _refused)
        return decision
    if outcome == _STALE:
        _stale.inc()
        return StaleCaller()
    if outcome == _CONFLICT:
        return PlatformError(ErrorKind.CONFLICT, "This call was given up or replaced; please send it anew.")
    return failed("late" if outcome == LATE else "unknown_counter")


def peek(
    *,
    subject: Subject,
    limits: Sequence[Limit],
    month_to_date: MonthToDate,
    client: redis.Redis | None = None,
) -> Decision:
    """Check the caller's freshness and tell the state of every limit; takes nothing. Raises as ``admit`` does."""
    answer = _ask(
        client=client or state(),
        subject=subject,
        limits=tuple(limits),
        charges=(),
        request_id="",
        hold_ttl_s=1.0,
        settle_now=False,
        month_to_date=month_to_date,
    )
    return _or_raise(told(answer, limits, ()))


def _or_raise(found: Decision | Exception) -> Decision:
    if isinstance(found, Exception):
        raise found
    return found


def _ask(
    *,
    client: redis.Redis,
    subject: Subject,
    limits: tuple[Limit, ...],
    charges: Sequence[Charge],
    request_id: str,
    hold_ttl_s: float,
    settle_now: bool,
    month_to_date: MonthToDate,
) -> list[int]:
    """Ask the script until it decides. It is asked again only after answers that took nothing: late, unknown."""
    names = keys.of_caller(subject.shard, subject.tenant_id, subject.key_id)
    packed_limits = packing.limits(limits)
    outcome = LATE
    for _ in range(_TRIES):
        call = packing.call(
            subject=subject,
            charges=charges,
            request_id=request_id,
            hold_ttl_s=hold_ttl_s,
            settle_now=settle_now,
            deadline_us=server_clock.OF_STATE.deadline_us(patience_s=settings.REDIS_TIMEOUT_S),
            lifetime_us=packing.lifetime_us(limits),
        )
        try:
            answer: list[int] = connection.run(client, scripts.ADMIT, names, (packed_limits, call))
        except FAILURES as error:
            raise failed(reason_of(error), error) from error
        outcome = answer[0]
        server_clock.OF_STATE.learn(answer[1], anew=outcome == LATE)
        if outcome not in {LATE, UNKNOWN}:
            return answer
        if outcome == UNKNOWN:
            lost = [limits[position] for position in answer[3:]]
            _rebuild(client, names, subject, lost, month=answer[2], month_to_date=month_to_date)
    raise failed("late" if outcome == LATE else "unknown_counter")


def _rebuild(
    client: redis.Redis,
    names: Sequence[bytes],
    subject: Subject,
    lost: Sequence[Limit],
    *,
    month: int,
    month_to_date: MonthToDate,
) -> None:
    """Put lost monthly counters back from the ledger; a new limit's first counter comes about the same way."""
    try:
        counters = [(limit.id, month, month_to_date(limit, subject)) for limit in lost]
    except DatabaseError as error:
        raise failed("ledger", error) from error
    with closed_on_failure():
        lifetime_ms = str(packing.SHORTEST_LIFETIME_S * 1000).encode()
        connection.run(client, scripts.REBUILD, names[:1], (packing.message(counters), lifetime_ms))


def _decision(answer: list[int], limits: Sequence[Limit], charges: tuple[Charge, ...]) -> Decision:
    # Positional and without helpers in the loop: this runs for every prediction.
    states = tuple(
        [
            LimitState(limit, room, reset * _SECONDS, wait * _SECONDS if wait >= 0 else math.inf, wait != 0)
            for limit, room, reset, wait in zip(limits, answer[2::3], answer[3::3], answer[4::3], strict=True)
        ]
    )
    if answer[0] == _GRANTED:
        return Decision(True, states, 0.0, charges)
    return Decision(False, states, max(state.wait_s for state in states), charges)
