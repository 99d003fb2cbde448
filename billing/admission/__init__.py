"""May this be spent? The one place that decides, and what happens to a hold afterwards.

``admit`` takes units for a call from every limit of its caller or from none, in one script on the state Redis; what it
took is a hold, which the worker that did the work settles and a call that gave up releases. ``explain`` tells a refusal again.
Reasons and consequences: ``docs/adr/0001-admission-in-one-script.md``.
"""

from billing.admission.deciding import MonthToDate, admit, peek
from billing.admission.explaining import explain, find, recent
from billing.admission.failures import Unanswered
from billing.admission.refusal_counts import count_refused
from billing.admission.settling import parse_settled, release, settle, settle_commands, void
from billing.admission.sweeping import sweep
from billing.admission.tightest import asked, tightest
from billing.admission.types import (
    MAX_AMOUNT,
    MAX_CHARGES,
    MAX_HOLD_TTL_S,
    Charge,
    Decision,
    Limit,
    LimitKind,
    LimitState,
    Refusal,
    Refusals,
    RefusedLimit,
    Settled,
    Settlement,
    Subject,
)
from tenants.guards import StaleCaller

__all__ = [
    "MAX_AMOUNT",
    "MAX_CHARGES",
    "MAX_HOLD_TTL_S",
    "Charge",
    "Decision",
    "Limit",
    "LimitKind",
    "LimitState",
    "MonthToDate",
    "Refusal",
    "Refusals",
    "RefusedLimit",
    "Settled",
    "Settlement",
    "StaleCaller",
    "Subject",
    "Unanswered",
    "admit",
    "asked",
    "count_refused",
    "explain",
    "find",
    "parse_settled",
    "peek",
    "recent",
    "release",
    "settle",
    "settle_commands",
    "sweep",
    "tightest",
    "void",
]
