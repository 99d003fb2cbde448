"""Which limit to tell a caller that is told one: the one that would refuse first. The one place that says so, for every face."""

import math
from collections.abc import Sequence

from billing.admission.types import Charge, Decision, Limit, LimitKind, LimitState


def tightest(decision: Decision) -> LimitState:
    """The limit that refuses soonest when calls like this one go on; of a refusal the one that makes it wait longest.

    That is the limit of which the fewest such calls are left, each taking what this one took, and of equals the one that
    is whole again last. A call that takes nothing of what a limit counts, such as a read, is taken for one of 1 unit and 1
    request. Running calls give their places back, so a limit on them is told only while it is full, or alone.
    Raises ValueError for a caller without limits.
    """
    if not decision.states:
        raise ValueError("a caller without limits has no tightest one")
    if not decision.granted:
        return max(
            (state for state in decision.states if state.refused), key=lambda state: (state.wait_s, state.reset_s)
        )
    charges = decision.charges
    units = sum([charge.units for charge in charges])
    requests = sum([charge.requests for charge in charges])
    best, fewest = decision.states[0], math.inf
    # One loop without helpers where it can be: this runs for every answer.
    for state in decision.states:
        limit = state.limit
        if limit.kind is LimitKind.CONCURRENCY:
            left: float = math.inf if charges or state.remaining > 0 else 0
        else:
            each = asked(limit, charges) if limit.scope == "model" else units if limit.counts == "units" else requests
            left = max(0, state.remaining) // max(1, each)
        if left < fewest or (left == fewest and _later(state, best)):
            best, fewest = state, left
    return best


def asked(limit: Limit, charges: Sequence[Charge]) -> int:
    """What these charges take from the limit together."""
    if limit.scope == "model":
        concerned = [charge for charge in charges if charge.model == limit.subject]
        return sum(charge.units if limit.counts == "units" else charge.model_requests for charge in concerned)
    return sum(charge.units if limit.counts == "units" else charge.requests for charge in charges)


def _later(state: LimitState, than: LimitState) -> bool:
    if (state.limit.kind is LimitKind.CONCURRENCY) != (than.limit.kind is LimitKind.CONCURRENCY):
        return than.limit.kind is LimitKind.CONCURRENCY
    if state.limit.kind is LimitKind.CONCURRENCY:
        return state.remaining < than.remaining
    return state.reset_s > than.reset_s
