"""Contracts that refuse every call, or soon will."""

from collections.abc import Iterable, Sequence
from typing import Final

from django.urls import reverse

from billing.admin.contract_month import ContractMonth
from mlplatform.attention.notice import Notice, listed

_NEARLY: Final = 0.8
_SEEN: Final = "tenants.view_tenant"


def told(months: Sequence[ContractMonth]) -> Iterable[Notice]:
    """Of active tenants: those without a plan, and those that used most of what theirs includes."""
    page = reverse("admin:tenants_tenant_changelist")
    without = [one.name for one in months if one.active and not one.plan]
    if without:
        verb = "has" if len(without) == 1 else "have"
        text = f"{listed(without)} {verb} no plan, so every call is refused."
        yield Notice("warning", "sell", text, f"{page}?plan_now=-", _SEEN)
    used = [one for one in months if one.active and one.included and one.units >= one.included * _NEARLY]
    if used:
        verb = "has" if len(used) == 1 else "have"
        names = [f"{one.name} ({one.percent:,} %)" for one in sorted(used, key=lambda one: -(one.percent or 0))]
        text = f"{listed(names)} {verb} used over 80 % of the included units."
        yield Notice("warning", "data_usage", text, f"{page}?o=-4", _SEEN)
