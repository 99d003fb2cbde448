"""On the tenant's page: what it occupies against each of its quotas."""

from collections.abc import Iterator
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from billing import contracts, quotas
from inference.admin.deprecations.tenant_calls import TenantWithCallsAdmin
from inference.registry.packages import occupied
from tenants.admin.kit import display, read_once
from tenants.models import Tenant

_MB: Final = 2**20


class TenantWithQuotasAdmin(TenantWithCallsAdmin):
    """Numbers come from the plan, or from the platform's settings where that says nothing."""

    def get_fieldsets(self, request: HttpRequest, obj: Tenant | None = None) -> Any:
        fieldsets = list(super().get_fieldsets(request, obj))
        return fieldsets if obj is None else [*fieldsets, ("Quotas", {"fields": ["occupies"]})]

    def get_readonly_fields(self, request: HttpRequest, obj: Tenant | None = None) -> list[str]:
        return [*super().get_readonly_fields(request, obj), *(["occupies"] if obj is not None else [])]

    @display(description="Occupies")
    @read_once
    def occupies(self, tenant: Tenant) -> SafeString:
        return format_html_join("", "<div>{}: <b>{}</b> of {}{}</div>", _lines(tenant))


def _lines(tenant: Tenant) -> Iterator[tuple[str, str, str, str]]:
    """What it is, what is taken, of how much, and what that means."""
    quota, plan = quotas.of_models(tenant_id=tenant.pk), contracts.plan_now(tenant.pk)
    kept = occupied.kept(tenant)
    yield "Model versions", f"{kept.versions:,}", f"{quota.versions:,}", ", without retired ones"
    yield "Files of models", _mb(kept.total_bytes), _mb(quota.total_bytes), ""
    yield "Memory of models", _mb(occupied.memory_bytes(tenant)), _mb(quota.memory_bytes), ", in the fullest worker"
    pushes = occupied.pushes(tenant, quota)
    yield (
        "Pushes",
        "?" if pushes is None else f"{pushes:,}",
        quota.push_rate.replace("/", " per ", 1),
        ", one at a time",
    )
    pixels = plan.pixels_per_s if plan is not None else None
    used = occupied.pixels_per_s(tenant)
    yield (
        "Pixels a second, last minute",
        "?" if used is None else f"{used:,.0f}",
        f"{pixels or settings.PIXELS_PER_KEY_PER_S:,}",
        f", allowed by each process to {'each key' if pixels is None else 'all keys together'}",
    )


def _mb(size: int | None) -> str:
    return "?" if size is None else f"{size / _MB:,.1f} MB"
