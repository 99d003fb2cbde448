"""Every tenant's plan and its units of this month, read once for a page that says several things of them."""

from dataclasses import dataclass
from typing import Any

from django.db.models import OuterRef, QuerySet, Subquery, Sum

from billing.models import Subscription, UsageRollup
from mlplatform.lib import clock
from tenants.models import Tenant, TenantStatus


@dataclass(frozen=True, slots=True)
class ContractMonth:
    """``plan`` is empty, and ``included`` None, for a tenant that is on no plan. ``units`` are those of this month (UTC)."""

    tenant_id: int
    name: str
    active: bool
    plan: str
    included: int | None
    units: int

    @property
    def percent(self) -> int | None:
        """Of the included units; None where none are included."""
        return round(100 * self.units / self.included) if self.included else None


def with_plan(tenants: QuerySet[Tenant]) -> QuerySet[Any]:
    """Each tenant with ``plan_name`` and ``plan_units`` of the plan that it is on now; null without a plan."""
    running = Subscription.objects.filter(tenant=OuterRef("pk"), starts_at__lte=clock.now()).order_by("-starts_at")
    return tenants.annotate(
        plan_name=Subquery(running.values("plan__name")[:1]),
        plan_units=Subquery(running.values("plan__included_units")[:1]),
    )


def of_all_tenants() -> list[ContractMonth]:
    """In two queries: one of tenants with their plans, one of the month's sums."""
    month = clock.now().date().replace(day=1)
    sums = UsageRollup.objects.filter(day__gte=month).order_by().values_list("tenant").annotate(total=Sum("units"))
    units: dict[int, int] = dict(sums)
    rows = with_plan(Tenant.objects.order_by("name")).values_list("pk", "name", "status", "plan_name", "plan_units")
    return [
        ContractMonth(pk, name, status == TenantStatus.ACTIVE, plan or "", included, units.get(pk, 0))
        for pk, name, status, plan, included in rows
    ]
