"""The tenant's page, with its choice whether sampled calls of ending versions are kept whole."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse

from billing.admin.tenant_columns import TenantWithContractAdmin
from inference.admin.deprecations.tenant_ends import ends_of
from inference.deprecations.samples import store as samples
from tenants.admin.confirmation import Question, ask
from tenants.admin.kit import action
from tenants.models import Tenant


class TenantWithCallsAdmin(TenantWithContractAdmin):
    """Staff enter what the tenant has decided; opting out redacts at once what was kept."""

    actions_detail = [*TenantWithContractAdmin.actions_detail, "keep_calls", "redact_calls"]

    def overview(self, request: HttpRequest, tenant: Tenant) -> dict[str, Any]:
        found = super().overview(request, tenant)
        if request.user.has_perm("tenants.view_deprecationschedule"):
            found["ends"] = [*found["ends"], *ends_of(tenant.pk)]
        return found

    def get_fieldsets(self, request: HttpRequest, obj: Tenant | None = None) -> Any:
        fieldsets = list(super().get_fieldsets(request, obj))
        if obj is not None:
            name, options = fieldsets[0]
            fieldsets[0] = (name, {**options, "fields": [*options["fields"], "keeps_calls"]})
        return fieldsets

    def get_readonly_fields(self, request: HttpRequest, obj: Tenant | None = None) -> list[str]:
        return [*super().get_readonly_fields(request, obj), *(["keeps_calls"] if obj is not None else [])]

    @action(description="Keep sampled calls", permissions=["change"], icon="inventory_2")
    def keep_calls(self, request: HttpRequest, object_id: str) -> HttpResponse:
        tenant = get_object_or_404(Tenant, pk=object_id)

        def act() -> str:
            samples.opt_in(tenant=tenant)
            return f"Sampled calls of {tenant.name} are kept whole from now on."

        question = Question(
            title=f"Keep sampled calls of {tenant.name}",
            question=f"Has {tenant.name} agreed that sampled calls of ending versions are kept whole?",
            consequences=[
                "At most one call a minute and key of a version that ends is kept, with its input and answer, for 30 days.",
                "Migrations can be rehearsed with them, and notices show the tenant its own call.",
            ],
            subjects=[tenant.name],
            button="Keep calls",
            danger=False,
        )
        return ask(request, self, question=question, act=act, back=_page(object_id))

    @action(description="Redact sampled calls", permissions=["change"], icon="visibility_off")
    def redact_calls(self, request: HttpRequest, object_id: str) -> HttpResponse:
        tenant = get_object_or_404(Tenant, pk=object_id)

        def act() -> str:
            samples.opt_out(tenant=tenant)
            return f"Sampled calls of {tenant.name} were redacted to their shape."

        question = Question(
            title=f"Redact sampled calls of {tenant.name}",
            question=f"Redact every sampled call of {tenant.name} now, and keep none whole from now on?",
            consequences=["What was kept cannot be brought back.", "Migrations cannot be rehearsed any more."],
            subjects=[tenant.name],
            button="Redact calls",
        )
        return ask(request, self, question=question, act=act, back=_page(object_id))

    def get_actions_detail(self, request: HttpRequest, object_id: str) -> list[Any]:
        """Only what can be done now."""
        keeps = Tenant.objects.filter(pk=object_id).values_list("keeps_calls", flat=True).first()
        pointless = "keep_calls" if keeps else "redact_calls"
        found: list[Any] = super().get_actions_detail(request, object_id)
        return [entry for entry in found if not entry.action_name.endswith(f"_{pointless}")]


def _page(object_id: str) -> str:
    return reverse("admin:tenants_tenant_change", args=[object_id])
