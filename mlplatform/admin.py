"""The staff admin as a whole: pages to which several floors contribute are put together here, under the roof.

Django imports this after the admin modules of the apps, so the pages of libraries can be replaced by ours.
"""

from typing import Any

from auditlog.models import LogEntry
from django.contrib import admin
from django.contrib.auth.models import Group

from billing.admin import model_choice
from billing.admin.key_limits import ApiKeyWithLimitsAdmin
from billing.admin.limits import LimitAdmin, LimitInline
from billing.admin.plans import PlanAdmin
from billing.admin.prices import PriceAdmin
from billing.admin.usage_days import UsageDayAdmin
from billing.admin.usage_records import UsageRecordAdmin
from billing.models import LimitRule, Plan, Price, UsageRecord, UsageRollup
from inference.admin.tenant_quotas import TenantWithQuotasAdmin
from inference.models import MLModel
from inference.registry import names
from mlplatform.graphql.trusting import judge
from tenants.admin.audit_log import AuditLogAdmin
from tenants.admin.roles import RoleAdmin
from tenants.admin.trusted_documents import TrustedDocumentAdmin
from tenants.models import ApiKey, Tenant, TrustedDocument

admin.site.index_title = "Overview"
admin.site.enable_nav_sidebar = True


def model_names() -> list[str]:
    """What calls name all models, for forms of floors that know none."""
    return sorted(set(MLModel.objects.values_list("name", flat=True)))


def meter_names() -> list[str]:
    """What meters, prices and limits name them: ``tenant/name`` of a private one."""
    return sorted(MLModel.objects.annotate(meter=names.sql()).values_list("meter", flat=True))


class PlatformLimitInline(LimitInline):
    """Limits of one owner, which name models that its calls can name."""

    def model_names(self, owner: Any) -> list[str]:
        tenant = owner.tenant if isinstance(owner, ApiKey) else owner
        return model_choice.of_tenant(meter_names(), tenant.slug) if isinstance(tenant, Tenant) else meter_names()


@admin.register(LimitRule)
class PlatformLimitAdmin(LimitAdmin):
    """Limits, with every model."""

    def model_names(self) -> list[str]:
        return meter_names()


@admin.register(Plan)
class PlatformPlanAdmin(PlanAdmin):
    """Plans, with limits on every model."""

    inlines = [PlatformLimitInline]


@admin.register(Tenant)
class PlatformTenantAdmin(TenantWithQuotasAdmin):
    """Tenants with their contracts, sampled calls and quotas, and the models that can be their default."""

    limit_inline = PlatformLimitInline

    def model_names(self) -> list[str]:
        return model_names()


@admin.register(ApiKey)
class PlatformApiKeyAdmin(ApiKeyWithLimitsAdmin):
    """API keys with the limits of each, and the models that it may be limited to."""

    inlines = [PlatformLimitInline]

    def model_names(self) -> list[str]:
        return model_names()


@admin.register(TrustedDocument)
class PlatformTrustedDocumentAdmin(TrustedDocumentAdmin):
    """Trusted documents, judged by the schema that answers them."""

    def judge(self, text: str) -> str:
        return judge(text)


@admin.register(Price)
class PlatformPriceAdmin(PriceAdmin):
    """Prices, with every model in the sample call."""

    def model_names(self) -> list[str]:
        return meter_names()


@admin.register(UsageRollup)
class PlatformUsageDayAdmin(UsageDayAdmin):
    """Daily usage, filtered by any model."""

    def model_names(self) -> list[str]:
        return meter_names()


@admin.register(UsageRecord)
class PlatformUsageRecordAdmin(UsageRecordAdmin):
    """Usage records, filtered by any model."""

    def model_names(self) -> list[str]:
        return meter_names()


admin.site.unregister([Group, LogEntry])
admin.site.register(Group, RoleAdmin)
admin.site.register(LogEntry, AuditLogAdmin)
