"""What a price costs before and after it is saved, and which tenants that concerns."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from django.db.models import Q, QuerySet, Sum
from django.urls import reverse

from billing import pricing
from billing.models import Price, UsageRollup
from billing.pricing import Tariff
from mlplatform.lib import clock

DAYS: Final = 30
_NAMED: Final = 5
_CALLS: Final = ((1, 0), (100, 0), (100, 40))
"""Inputs of sample calls, and how many of them a cache answers."""


@dataclass(frozen=True, slots=True)
class Line:
    """One comparison: units before and after."""

    title: str
    before: int
    after: int
    link: str = ""

    @property
    def before_text(self) -> str:
        return f"{self.before:,}"

    @property
    def after_text(self) -> str:
        return f"{self.after:,}"

    @property
    def change(self) -> str:
        """Such as ``+25 %``; empty where nothing changes."""
        if self.before == self.after:
            return ""
        if not self.before:
            return "was free"
        return f"{100 * (self.after - self.before) / self.before:+,.0f} %"

    @property
    def tone(self) -> str:
        return "p-up" if self.after > self.before else "p-down" if self.after < self.before else ""


@dataclass(frozen=True, slots=True)
class Effect:
    """``tenants`` are the five that it concerns most, of ``affected``; ``total`` is of all that used it in 30 days."""

    subject: str
    calls: Sequence[Line]
    tenants: Sequence[Line]
    affected: int
    total: Line


def of(*, operation: str, model: str, after: Tariff, replaces: Price | None = None) -> Effect:
    """The effect of a price on calls like those of the last 30 days. ``replaces`` is the row that is changed, if it is one."""
    before = _holds_now(operation=operation, model=model, replaces=replaces)
    used = list(
        _calls(operation=operation, model=model, replaces=replaces)
        .values("tenant", "tenant__name")
        .annotate(
            total_calls=Sum("model_calls"),
            total_inputs=Sum("inputs"),
            total_cached=Sum("cached_inputs"),
        )
        .order_by()
    )
    lines = [
        Line(
            title=row["tenant__name"],
            before=_units(before, row["total_calls"], row["total_inputs"], row["total_cached"]),
            after=_units(after, row["total_calls"], row["total_inputs"], row["total_cached"]),
            link=reverse("admin:tenants_tenant_change", args=[row["tenant"]]),
        )
        for row in used
    ]
    lines.sort(key=lambda line: (-abs(line.after - line.before), -line.before, line.title))
    return Effect(
        subject=model or "any model without a price of its own",
        calls=[
            Line(_title(inputs, cached), _units(before, 1, inputs, cached), _units(after, 1, inputs, cached))
            for inputs, cached in _CALLS
        ],
        tenants=lines[:_NAMED],
        affected=len(lines),
        total=Line("All", sum(line.before for line in lines), sum(line.after for line in lines)),
    )


def _holds_now(*, operation: str, model: str, replaces: Price | None) -> Tariff:
    """What such a call costs today: by the row that is changed if it is of this subject, else by the price that would apply."""
    if replaces is not None and (replaces.operation, replaces.model) == (operation, model):
        return Tariff(replaces.per_call, replaces.per_input, replaces.cached_per_input)
    return pricing.tariff(operation=operation, model=model)


def _calls(*, operation: str, model: str, replaces: Price | None) -> QuerySet[UsageRollup]:
    since = clock.now().date() - dt.timedelta(days=DAYS - 1)
    rows = UsageRollup.objects.filter(day__gte=since, operation=operation)
    if model:
        return rows.filter(model=model)
    others = Price.objects.filter(operation=operation).exclude(model="")
    if replaces is not None:
        others = others.exclude(pk=replaces.pk)
    return rows.exclude(Q(model="") & ~Q(operation="graphql")).exclude(model__in=others.values("model"))


def _units(tariff: Tariff, calls: int, inputs: int, cached: int) -> int:
    return calls * tariff.per_call + (inputs - cached) * tariff.per_input + cached * tariff.cached_per_input


def _title(inputs: int, cached: int) -> str:
    if not cached:
        return f"A call of {inputs:,} input{'' if inputs == 1 else 's'}"
    return f"A call of {inputs:,} inputs, {cached:,} of them cached"
