"""Limits: those of plans, agreements with one tenant, and those of one key."""

from typing import TYPE_CHECKING, Any, Final

from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, JsonResponse
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString

from billing import contracts
from billing.admin.limit_forms import RULE, LimitForm, RuleForm, sentence
from billing.models import LimitRule
from tenants.admin import formats
from tenants.admin.kit import StaffAdmin, StaffTabularInline, display

if TYPE_CHECKING:
    from django.contrib.admin import SimpleListFilter as DropdownFilter
else:
    from unfold.contrib.filters.admin import DropdownFilter

_SCRIPT: Final = "platform/limit_form.js"


class LimitInline(StaffTabularInline):
    """Limits on the page of the plan, tenant or key that owns them; the page publishes the change."""

    model = LimitRule
    form = RuleForm
    fields = RULE
    hide_title = False  # it says the rule in words

    class Media:
        js = (_SCRIPT,)

    def model_names(self, owner: Any) -> list[str]:
        """What limits of this owner can name; the roof knows models."""
        return []

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        formset = super().get_formset(request, obj, **kwargs)
        formset.form.model_names = self.model_names(obj)  # type: ignore[attr-defined]  # RuleForm's
        return formset


class OwnerFilter(DropdownFilter):
    title = "owner"
    parameter_name = "owner"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("plan", "Plans"), ("tenant", "Tenants"), ("key", "Keys")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[LimitRule]) -> QuerySet[LimitRule]:
        owner = self.value()
        return queryset.filter(**{f"{owner}__isnull": False}) if owner in {"plan", "tenant", "key"} else queryset


class LimitAdmin(StaffAdmin[LimitRule]):
    """Registered by the roof, which knows the models."""

    form = LimitForm
    list_display = ["name", "owner", "rule", "kind_badge", "scope"]
    list_filter = [OwnerFilter, "kind", "counts", "scope"]
    list_select_related = ["plan", "tenant", "key__tenant"]
    search_fields = ["name", "plan__name", "tenant__name", "key__name", "key__uid", "model"]
    search_help_text = "Name of the limit, plan, tenant or key"
    autocomplete_fields = ["plan", "tenant", "key"]
    ordering = ["plan__name", "tenant__name", "name"]

    class Media:
        js = (_SCRIPT,)

    def model_names(self) -> list[str]:
        """The names that a limit of one model can have; the roof knows them."""
        return []

    def get_urls(self) -> list[URLPattern]:
        own = [path("sentence/", self.admin_site.admin_view(self.sentence_view), name="billing_limitrule_sentence")]
        return [*own, *super().get_urls()]

    def sentence_view(self, request: HttpRequest) -> JsonResponse:
        """What the numbers of the query mean, in words; nothing is saved."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        text, good = sentence(request.GET, model_names=self.model_names())
        return JsonResponse({"text": text, "good": good})

    def get_form(self, request: HttpRequest, obj: LimitRule | None = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        form.model_names = self.model_names()  # type: ignore[attr-defined]  # LimitForm's
        return form

    def get_fieldsets(self, request: HttpRequest, obj: LimitRule | None = None) -> Any:
        return [
            ("Binds", {"fields": ["plan", "tenant", "key"] if obj is None else ["owner"]}),
            ("Rule", {"fields": [*RULE, "in_words"]}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: LimitRule | None = None) -> list[str]:
        return ["in_words"] if obj is None else ["owner", "in_words"]

    def publish(self, obj: LimitRule) -> None:
        contracts.rules_changed(rule=obj)

    @display(description="Binds")
    def owner(self, rule: LimitRule) -> str:
        if rule.plan is not None:
            return f"Plan {rule.plan.name}"
        if rule.tenant is not None:
            return f"Tenant {rule.tenant.name}"
        return f"Key {rule.key.name} of {rule.key.tenant.name}" if rule.key is not None else "–"

    @display(description="In words")
    def in_words(self, rule: LimitRule) -> SafeString:
        """As it was saved; the script says it anew while it is entered."""
        text = rule.in_full() if rule.pk else "Choose a kind and its numbers."
        return format_html("<span data-in-words>{}</span>", text)

    @display(description="Rule", ordering="amount")
    def rule(self, rule: LimitRule) -> str:
        return rule.describe() + (f", on {rule.model}" if rule.model else "")

    @display(description="Kind", ordering="kind")
    def kind_badge(self, rule: LimitRule) -> SafeString:
        return formats.badge(rule.get_kind_display(), "neutral")
