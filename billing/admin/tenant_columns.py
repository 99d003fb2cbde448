"""What billing adds to the page of tenants: the plan now, and the units of this month against what it includes."""

from typing import TYPE_CHECKING, Any, ClassVar

from django.db.models import OuterRef, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from billing.admin import cache_effect, tenant_overview
from billing.admin.contract_month import with_plan
from billing.admin.limits import LimitInline
from billing.admin.new_customer import NewCustomerPage
from billing.admin.subscriptions import SubscriptionInline
from billing.models import Plan, UsageRollup
from mlplatform.lib import clock
from tenants.admin import formats
from tenants.admin.kit import display, read_once
from tenants.models import Tenant

if TYPE_CHECKING:
    from django.contrib.admin import SimpleListFilter as DropdownFilter
else:
    from unfold.contrib.filters.admin import DropdownFilter


def with_contract(tenants: QuerySet[Tenant]) -> QuerySet[Any]:
    """Each tenant with ``plan_name`` and ``plan_units`` (null without a plan), and with ``units_month`` of this month."""
    month = clock.now().date().replace(day=1)
    used = UsageRollup.objects.filter(tenant=OuterRef("pk"), day__gte=month).order_by().values("tenant")
    found: QuerySet[Any] = with_plan(tenants).annotate(
        units_month=Coalesce(Subquery(used.annotate(total=Sum("units")).values("total")), 0)
    )
    return found


class PlanNowFilter(DropdownFilter):
    """By the plan that a tenant is on now; plans that it left do not count."""

    title = "plan now"
    parameter_name = "plan_now"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [*Plan.objects.order_by("name").values_list("name", "name"), ("-", "No plan")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value()
        if not chosen:
            return queryset
        return queryset.filter(plan_name__isnull=True) if chosen == "-" else queryset.filter(plan_name=chosen)


class TenantWithContractAdmin(NewCustomerPage):
    """Registered by the roof. Its limits and subscriptions are published together with the tenant itself."""

    limit_inline: ClassVar[type[LimitInline]] = LimitInline
    list_display = ["title", "status_badge", "plan_now", "units", "keys", "last_used"]
    list_filter = ["status", PlanNowFilter]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Tenant]:
        return with_contract(super().get_queryset(request))

    def overview(self, request: HttpRequest, tenant: Tenant) -> dict[str, Any]:
        return tenant_overview.extended(super().overview(request, tenant), request, tenant)

    def get_inlines(self, request: HttpRequest, obj: Tenant | None) -> Any:
        members = super().get_inlines(request, obj)
        return [*members, SubscriptionInline] if obj is None else [*members, SubscriptionInline, self.limit_inline]

    def get_fieldsets(self, request: HttpRequest, obj: Tenant | None = None) -> Any:
        own = super().get_fieldsets(request, obj)
        return own if obj is None else [*own, ("Usage", {"fields": ["cache_effect"]})]

    def get_readonly_fields(self, request: HttpRequest, obj: Tenant | None = None) -> list[str]:
        own = super().get_readonly_fields(request, obj)
        return own if obj is None else [*own, "cache_effect"]

    @display(description=cache_effect.TITLE)
    @read_once
    def cache_effect(self, tenant: Tenant) -> SafeString:
        return cache_effect.of_tenant(tenant.pk)

    @display(description="Plan now", ordering="plan_name")
    def plan_now(self, tenant: Tenant) -> SafeString:
        name: str | None = tenant.plan_name  # type: ignore[attr-defined]  # annotated by with_contract
        return format_html("{}", name) if name else formats.badge("No plan", "warning", why="Every call is refused.")

    @display(description="Units this month", ordering="units_month")
    def units(self, tenant: Tenant) -> SafeString:
        used: int = tenant.units_month  # type: ignore[attr-defined]  # annotated by with_contract
        included: int | None = tenant.plan_units  # type: ignore[attr-defined]  # annotated by with_contract
        if not included:
            return format_html('<span class="p-meter"></span><span class="p-number">{}</span>', f"{used:,}")
        percent = round(100 * used / included)
        tone = "danger" if percent >= 100 else "warning" if percent >= 80 else "ok"
        return format_html(
            '<span class="p-meter p-{}" title="{} % of {} included units"><i style="width:{}%"></i></span>'
            '<span class="p-number">{}</span>',
            tone,
            percent,
            f"{included:,}",
            min(percent, 100),
            f"{used:,}",
        )
