"""Admission as the rest of the product asks for it: charges in, a decision out, a refusal raised with words."""

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from billing import admission, late_releases
from billing.admission import Charge, Decision, Limit, LimitState, Subject
from billing.contracts import Contract
from billing.metering import ledger as metering_ledger
from mlplatform.lib.errors import ErrorKind, PlatformError

_encode: Final = msgspec.msgpack.Encoder().encode


class Refused(PlatformError):
    """A call that its limits refuse; ``decision`` has the state of every limit for headers and explanations."""

    def __init__(self, kind: ErrorKind, detail: str, decision: Decision, *, retry_after_s: float | None) -> None:
        violated = [state.limit.name for state in decision.states if state.refused]
        super().__init__(kind, detail, retry_after_s=retry_after_s, extra={"violated-policies": violated})
        self.decision = decision


def record(
    *,
    contract: Contract,
    request_id: str,
    operation: str,
    model: str,
    model_version: str,
    api_version: str,
    inputs: int,
    cached: bool,
    requests: int,
    held_units: int,
    client: str,
    model_requests: int = 1,
    version_requests: int = 1,
) -> bytes:
    """The usage record of one charge as it is kept in its hold; units and moment are added when it is settled.

    A call is counted once: ``requests`` is 1 in one record of it, ``model_requests`` in one for each model that it names, and
    ``version_requests`` in one for each version of one. ``held_units`` is what the input costs when it is computed, which is
    held for it unless a cache has its answer already. What it pays less in the end, because a cache or an equal input's
    computation answered it, the ledger counts as saved.
    """
    return _encode(
        {
            "tenant_id": contract.subject.tenant_id,
            "key_id": contract.subject.key_id,
            "request_id": request_id,
            "operation": operation,
            "model": model,
            "model_version": model_version,
            "api_version": api_version,
            "inputs": inputs,
            "cached": cached,
            "requests": requests,
            "model_requests": model_requests,
            "version_requests": version_requests,
            "held_units": held_units,
            "client": client[:120],
        }
    )


def charge(
    *,
    contract: Contract,
    limits: Sequence[Limit],
    charges: Sequence[Charge],
    request_id: str,
    hold_ttl_s: float,
    settle_now: bool,
) -> Decision:
    """Admit all charges or none. Raises :class:`Refused`, ``StaleCaller``, or UNAVAILABLE while Redis is away.

    An admission whose answer is lost may have taken what it asked for, so it is voided until that is certain.
    """
    late_releases.require_room()
    try:
        decision = admission.admit(
            subject=contract.subject,
            limits=limits,
            charges=charges,
            request_id=request_id,
            hold_ttl_s=hold_ttl_s,
            settle_now=settle_now,
            month_to_date=metering_ledger.month_to_date,
        )
    except admission.Unanswered:
        late_releases.owe(contract.subject, [charge.hold_id for charge in charges])
        raise
    if not decision.granted:
        raise refusal(decision)
    return decision


def peek(*, contract: Contract, limits: Sequence[Limit]) -> Decision:
    """The state of these limits; takes nothing. A counter of the month that was lost is made anew from the ledger.

    Raises ``StaleCaller``, or UNAVAILABLE while Redis or SQL is away.
    """
    return admission.peek(subject=contract.subject, limits=limits, month_to_date=metering_ledger.month_to_date)


def refusal(decision: Decision) -> Refused:
    """A decision that is not granted, in words."""
    if any(state.refused and state.limit.amount == 0 for state in decision.states):
        return Refused(
            ErrorKind.FORBIDDEN,
            "Nothing is included: this tenant has no plan with units.",
            decision,
            retry_after_s=None,
        )
    if math.isinf(decision.wait_s):
        return Refused(ErrorKind.CHARGE_TOO_LARGE, _too_large(decision), decision, retry_after_s=None)
    return Refused(ErrorKind.QUOTA_EXCEEDED, _refusal(decision), decision, retry_after_s=decision.wait_s)


def take_back(subject: Subject, *hold_ids: str) -> None:
    """Make true that nothing was charged for these holds, settled or not; while Redis is away, as soon as it answers."""
    try:
        admission.void(tenant_id=subject.tenant_id, shard=subject.shard, hold_ids=hold_ids)
    except PlatformError:
        late_releases.owe(subject, hold_ids)


def release(subject: Subject, hold_ids: Sequence[str]) -> set[str]:
    """Give units back, and tell for which holds: the others were settled already, which stays so, or had ended. While Redis is
    away that cannot be known: then all are taken back as soon as it answers."""
    try:
        return set(admission.release(tenant_id=subject.tenant_id, shard=subject.shard, hold_ids=hold_ids))
    except PlatformError:
        late_releases.owe(subject, hold_ids)
        return set(hold_ids)


def _too_large(decision: Decision) -> str:
    state, needed = _told(decision)
    return (
        f"This call needs {needed:,} {state.limit.counts}, more than the limit {state.limit.name!r} "
        f"({state.limit.amount:,}, set by {state.limit.source}) can ever let pass at once. Split it into smaller calls."
    )


def _refusal(decision: Decision) -> str:
    state, needed = _told(decision)
    return (
        f"The limit {state.limit.name!r} of {state.limit.amount:,} {state.limit.counts}, set by {state.limit.source}, has "
        f"{state.remaining:,} left and this call needs {needed:,}. It passes in {duration(state.wait_s)}."
    )


def _told(decision: Decision) -> tuple[LimitState, int]:
    """The limit that the words are about, and what the call needs of it."""
    state = admission.tightest(decision)
    return state, admission.asked(state.limit, decision.charges)


def duration(seconds: float) -> str:
    """Such as ``0.25 s`` or ``1,209,600 s``; never rounded to a time that is too early."""
    return f"{math.ceil(seconds):,} s" if seconds >= 10 else f"{math.ceil(seconds * 100) / 100:g} s"
