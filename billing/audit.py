"""Which rows of this app are audited. Usage records and roll-ups are facts, not changes by people."""

from auditlog.registry import auditlog

from billing.models import LimitRule, Plan, Price, Subscription


def register() -> None:
    """Called once when Django is ready."""
    for model in (Plan, LimitRule, Subscription, Price):
        auditlog.register(model)
