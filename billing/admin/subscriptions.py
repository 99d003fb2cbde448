"""Which tenant is on which plan from when. What has begun is history: a change is a new subscription."""

from typing import Any

from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.utils.safestring import SafeString

from billing import contracts
from billing.models import Plan, Subscription
from mlplatform.lib import clock
from tenants.admin import formats
from tenants.admin.kit import StaffAdmin, StaffTabularInline, display


def _begun(obj: object) -> bool:
    return isinstance(obj, Subscription) and obj.pk is not None and obj.starts_at <= clock.now()


class SubscriptionInline(StaffTabularInline):
    """The history of a tenant's plans; a new line changes the plan."""

    model = Subscription
    fields = ["plan", "starts_at"]
    ordering = ["-starts_at"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Subscription]:
        return super().get_queryset(request).select_related("plan", "tenant")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_foreignkey(db_field, request, **kwargs)
        if field is not None and db_field.name == "plan":
            field.queryset = Plan.objects.filter(archived=False)
        return field


@admin.register(Subscription)
class SubscriptionAdmin(StaffAdmin[Subscription]):
    list_display = ["tenant", "plan", "state", "starts_at", "created"]
    list_filter = ["plan"]
    list_select_related = ["tenant", "plan"]
    search_fields = ["tenant__name", "tenant__slug", "plan__name"]
    search_help_text = "Tenant or plan"
    autocomplete_fields = ["tenant", "plan"]
    fields = ["tenant", "plan", "starts_at"]
    ordering = ["-starts_at"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Subscription]:
        running = Subscription.objects.filter(tenant=OuterRef("tenant"), starts_at__lte=clock.now()).order_by(
            "-starts_at"
        )
        return super().get_queryset(request).annotate(running_pk=Subquery(running.values("pk")[:1]))

    def has_change_permission(self, request: HttpRequest, obj: Subscription | None = None) -> bool:
        return super().has_change_permission(request, obj) and not _begun(obj)

    def has_delete_permission(self, request: HttpRequest, obj: Subscription | None = None) -> bool:
        return super().has_delete_permission(request, obj) and not _begun(obj)

    def publish(self, obj: Subscription) -> None:
        contracts.subscription_changed(subscription=obj)

    @display(description="State")
    def state(self, subscription: Subscription) -> SafeString:
        if subscription.starts_at > clock.now():
            return formats.badge(f"Starts {formats.words(subscription.starts_at)}", "info")
        running = subscription.pk == subscription.running_pk  # type: ignore[attr-defined]  # annotated above
        return formats.badge("Running", "success") if running else formats.badge("Ended", "neutral")

    @display(description="Agreed", ordering="created_at")
    def created(self, subscription: Subscription) -> SafeString:
        return formats.age(subscription.created_at)
