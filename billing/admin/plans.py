"""Plans with their limits."""

from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.safestring import SafeString

from billing import contracts
from billing.admin.limits import LimitInline
from billing.models import Plan, Subscription
from mlplatform.lib import clock
from tenants.admin import formats
from tenants.admin.kit import StaffAdmin, display
from tenants.models import Tenant


def running_plan() -> Subquery:
    """The primary key of the plan that the outer tenant is on now."""
    started = Subscription.objects.filter(tenant=OuterRef("pk"), starts_at__lte=clock.now()).order_by("-starts_at")
    return Subquery(started.values("plan")[:1])


class PlanAdmin(StaffAdmin[Plan]):
    """Registered by the roof, which knows the models that limits name."""

    list_display = [
        "name",
        "fee",
        "included",
        "beyond",
        "limit_list",
        "tenants_now",
        "offered",
    ]
    list_filter = ["archived", "currency"]
    search_fields = ["name", "description"]
    search_help_text = "Name or description"
    inlines = [LimitInline]
    fieldsets = [
        (None, {"fields": ["name", "description", "weight", "archived"]}),
        (
            "What a tenant may occupy",
            {"fields": [("model_versions", "model_bytes"), ("model_memory_mb", "pushes_per_hour"), "pixels_per_s"]},
        ),
        ("Price", {"fields": [("monthly_fee", "currency"), ("included_units", "overage_price")]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Plan]:
        on_it = Tenant.objects.annotate(plan_now=running_plan()).filter(plan_now=OuterRef("pk")).order_by()
        # Grouped by a constant of the rows that match, so that the sub-query gives one number.
        counted = on_it.values("plan_now").annotate(n=Count("pk")).values("n")
        return (
            super().get_queryset(request).prefetch_related("limits").annotate(n_tenants=Coalesce(Subquery(counted), 0))
        )

    def has_delete_permission(self, request: HttpRequest, obj: Plan | None = None) -> bool:
        # Past subscriptions name their plan in invoices; such a plan is archived instead.
        used = isinstance(obj, Plan) and Subscription.objects.filter(Q(plan=obj)).exists()
        return super().has_delete_permission(request, obj) and not used

    def publish(self, obj: Plan) -> None:
        contracts.plan_changed(plan=obj)

    def publish_deleted(self, obj: Plan) -> None:
        """A plan that can be deleted binds no tenant."""

    @display(description="Monthly fee", ordering="monthly_fee")
    def fee(self, plan: Plan) -> str:
        return f"{plan.monthly_fee:,.2f} {plan.currency}"

    @display(description="Includes", ordering="included_units")
    def included(self, plan: Plan) -> str:
        return f"{plan.included_units:,} units"

    @display(description="Beyond that", ordering="overage_price")
    def beyond(self, plan: Plan) -> str:
        if plan.overage_price is None:
            return "Refused"
        return f"{plan.overage_price.normalize():f} {plan.currency} a unit"

    @display(description="Limits")
    def limit_list(self, plan: Plan) -> str:
        return ", ".join(rule.name for rule in plan.limits.all()) or "none"

    @display(description="Tenants", ordering="n_tenants")
    def tenants_now(self, plan: Plan) -> SafeString:
        return formats.number(plan.n_tenants)  # type: ignore[attr-defined]  # annotated above

    @display(description="Offered", ordering="archived")
    def offered(self, plan: Plan) -> SafeString:
        return formats.badge("Archived", "neutral") if plan.archived else formats.badge("Offered", "success")
