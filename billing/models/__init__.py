"""What a call costs, what may be spent, and what was used."""

from billing.models.limit_rule import Counts, LimitKind, LimitRule, LimitScope
from billing.models.plan import Plan, Subscription
from billing.models.price import Operation, Price
from billing.models.usage import UsageRecord, UsageRollup
from billing.models.version_use import VersionUse

__all__ = [
    "Counts",
    "LimitKind",
    "LimitRule",
    "LimitScope",
    "Operation",
    "Plan",
    "Price",
    "Subscription",
    "UsageRecord",
    "UsageRollup",
    "VersionUse",
]
