"""Limits: those of plans, agreements with one tenant, and those of one key."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from billing import contracts
from billing.models import LimitRule
from tenants.admin import formats
from tenants.admin.kit import ModelForm, StaffAdmin, StaffTabularInline, display

if TYPE_CHECKING:
    from django.contrib.admin import SimpleListFilter as DropdownFilter
else:
    from unfold.contrib.filters.admin import DropdownFilter

_RULE = ("name", "kind", "counts", "amount", "rate", "window_s", "scope", "model")


class LimitInline(StaffTabularInline):
    """Limits on the page of the plan, tenant or key that owns them; the page publishes the change."""

    model = LimitRule
    fields = _RULE
    hide_title = False  # it says the rule in words


class OwnerFilter(DropdownFilter):
    title = "owner"
    parameter_name = "owner"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("plan", "Plans"), ("tenant", "Tenants"), ("key", "Keys")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[LimitRule]) -> QuerySet[LimitRule]:
        owner = self.value()
        return queryset.filter(**{f"{owner}__isnull": False}) if owner in {"plan", "tenant", "key"} else queryset


class LimitForm(ModelForm[LimitRule]):
    class Meta:
        model = LimitRule
        fields = ["plan", "tenant", "key", *_RULE]

    def clean(self) -> dict[str, Any] | None:
        """A new limit names exactly one owner; the owner of an old one cannot change."""
        cleaned = super().clean()
        if not self.instance.pk and sum(bool(self.cleaned_data.get(owner)) for owner in ("plan", "tenant", "key")) != 1:
            raise ValidationError("Choose whom the limit binds: one plan, one tenant, or one key.")
        return cleaned


@admin.register(LimitRule)
class LimitAdmin(StaffAdmin[LimitRule]):
    form = LimitForm
    list_display = ["name", "owner", "rule", "kind_badge", "scope"]
    list_filter = [OwnerFilter, "kind", "counts", "scope"]
    list_select_related = ["plan", "tenant", "key__tenant"]
    search_fields = ["name", "plan__name", "tenant__name", "key__name", "key__uid", "model"]
    search_help_text = "Name of the limit, plan, tenant or key"
    autocomplete_fields = ["plan", "tenant", "key"]
    ordering = ["plan__name", "tenant__name", "name"]

    def get_fieldsets(self, request: HttpRequest, obj: LimitRule | None = None) -> Any:
        return [
            ("Binds", {"fields": ["plan", "tenant", "key"] if obj is None else ["owner"]}),
            ("Rule", {"fields": _RULE}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: LimitRule | None = None) -> list[str]:
        return [] if obj is None else ["owner"]

    def publish(self, obj: LimitRule) -> None:
        contracts.rules_changed(rule=obj)

    @display(description="Binds")
    def owner(self, rule: LimitRule) -> str:
        if rule.plan is not None:
            return f"Plan {rule.plan.name}"
        if rule.tenant is not None:
            return f"Tenant {rule.tenant.name}"
        return f"Key {rule.key.name} of {rule.key.tenant.name}" if rule.key is not None else "–"

    @display(description="Rule", ordering="amount")
    def rule(self, rule: LimitRule) -> str:
        return rule.describe() + (f", on {rule.model}" if rule.model else "")

    @display(description="Kind", ordering="kind")
    def kind_badge(self, rule: LimitRule) -> SafeString:
        return formats.badge(rule.get_kind_display(), "neutral")
