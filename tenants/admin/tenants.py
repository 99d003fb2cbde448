"""Tenants: who our customers are, and whether they may call. The roof adds the columns and inlines of their contracts."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.db.models import Count, Max, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.safestring import SafeString

from mlplatform.lib import clock
from tenants import tenancy
from tenants.admin import formats
from tenants.admin.confirmation import Question, ask, do
from tenants.admin.kit import ModelForm, StaffTabularInline, action, display
from tenants.admin.member_forms import MemberForm
from tenants.admin.tenant_page import TenantPage
from tenants.models import ApiKey, Membership, Tenant, TenantStatus

if TYPE_CHECKING:
    from django.forms import Select as UnfoldAdminSelectWidget
else:
    from unfold.widgets import UnfoldAdminSelectWidget


def with_keys(tenants: QuerySet[Tenant]) -> QuerySet[Tenant]:
    """Each tenant with ``keys_alive``, the number of its keys that work, and ``last_call``."""
    keys = ApiKey.objects.filter(tenant=OuterRef("pk")).order_by().values("tenant")
    alive = Q(revoked_at__isnull=True) & (Q(expires_at__isnull=True) | Q(expires_at__gt=clock.now()))
    return tenants.annotate(
        keys_alive=Coalesce(Subquery(keys.filter(alive).annotate(n=Count("pk")).values("n")), 0),
        last_call=Subquery(keys.annotate(last=Max("last_used_at")).values("last")),
    )


class MembershipInline(StaffTabularInline):
    model = Membership
    form = MemberForm
    autocomplete_fields = ["user"]
    fields = ["user", "role"]
    verbose_name = "member"
    verbose_name_plural = "members"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        return super().get_queryset(request).select_related("user", "tenant")


class TenantForm(ModelForm[Tenant]):
    """What staff change. New tenants are made by a page that the floor above adds."""

    class Meta:
        model = Tenant
        fields = ["name", "slug", "default_model", "operator"]


class TenantAdmin(TenantPage):
    form = TenantForm
    list_display = ["title", "status_badge", "keys", "last_used"]
    list_filter = ["status"]
    search_fields = ["name", "slug", "memberships__user__email"]
    search_help_text = "Name, slug, or a member's e-mail address"
    ordering = ["name"]
    inlines = [MembershipInline]
    actions = ["suspend_selected", "resume_selected"]
    actions_detail = ["keys_of", "issue_key", "suspend", "resume"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Tenant]:
        return with_keys(super().get_queryset(request))

    def get_fieldsets(self, request: HttpRequest, obj: Tenant | None = None) -> Any:
        return [
            (None, {"fields": ["status_badge", "name", "slug", "default_model", "operator", "created_at"]}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Tenant | None = None) -> list[str]:
        # It gives the tenant's keys power over every model.
        guarded = [] if request.user.is_superuser else ["operator"]
        return ["slug", "status_badge", "created_at", *guarded]

    def model_names(self) -> list[str]:
        """The names that can be the default model; the roof knows them."""
        return []

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name != "default_model":
            return super().formfield_for_dbfield(db_field, request, **kwargs)
        choices = [("", "None: each call must name one"), *((name, name) for name in self.model_names())]
        widget = UnfoldAdminSelectWidget()
        return forms.ChoiceField(
            label="Default model", choices=choices, required=False, widget=widget, help_text=db_field.help_text
        )

    def has_delete_permission(self, request: HttpRequest, obj: Tenant | None = None) -> bool:
        # A tenant's usage and invoices outlive its contract: suspend it instead.
        return False

    def has_view_keys_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return request.user.has_perm("tenants.view_apikey")

    def has_issue_key_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return request.user.has_perm("tenants.add_apikey")

    def publish(self, obj: Tenant) -> None:
        tenancy.changed(tenant=obj)

    @display(description="Tenant", ordering="name", header=True)
    def title(self, tenant: Tenant) -> list[str]:
        return [tenant.name, tenant.slug]

    @display(description="Status", ordering="status")
    def status_badge(self, tenant: Tenant) -> SafeString:
        return status_badge(tenant)

    @display(description="Keys", ordering="keys_alive")
    def keys(self, tenant: Tenant) -> SafeString:
        return formats.number(tenant.keys_alive)  # type: ignore[attr-defined]  # annotated by with_keys

    @display(description="Last call", ordering="last_call")
    def last_used(self, tenant: Tenant) -> SafeString:
        return formats.age(tenant.last_call)  # type: ignore[attr-defined]  # annotated by with_keys

    @admin.action(description="Suspend the selected tenants", permissions=["change"])
    def suspend_selected(self, request: HttpRequest, queryset: QuerySet[Tenant]) -> HttpResponse:
        tenants = list(queryset.filter(status=TenantStatus.ACTIVE))
        hidden = [("action", "suspend_selected"), *(("_selected_action", str(tenant.pk)) for tenant in tenants)]
        return ask(
            request,
            self,
            question=_suspension([tenant.name for tenant in tenants]),
            act=lambda: _suspend(tenants),
            back=request.get_full_path(),
            hidden=hidden,
        )

    @admin.action(description="Resume the selected tenants", permissions=["change"])
    def resume_selected(self, request: HttpRequest, queryset: QuerySet[Tenant]) -> None:
        do(request, lambda: _resume(list(queryset.filter(status=TenantStatus.SUSPENDED))))

    @action(description="API keys", permissions=["view_keys"], icon="key")
    def keys_of(self, request: HttpRequest, object_id: str) -> HttpResponse:
        address = reverse("admin:tenants_apikey_changelist")
        return HttpResponse(status=302, headers={"Location": f"{address}?tenant__id__exact={int(object_id)}"})

    @action(description="Issue a key", permissions=["issue_key"], icon="add")
    def issue_key(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return HttpResponse(
            status=302, headers={"Location": f"{reverse('admin:tenants_apikey_add')}?tenant={int(object_id)}"}
        )

    @action(description="Suspend", permissions=["change"], icon="block")
    def suspend(self, request: HttpRequest, object_id: str) -> HttpResponse:
        tenant = get_object_or_404(Tenant, pk=object_id)
        return ask(
            request,
            self,
            question=_suspension([tenant.name]),
            act=lambda: _suspend([tenant]),
            back=reverse("admin:tenants_tenant_change", args=[object_id]),
        )

    @action(description="Resume", permissions=["change"], icon="play_arrow")
    def resume(self, request: HttpRequest, object_id: str) -> HttpResponse:
        tenant = get_object_or_404(Tenant, pk=object_id)
        return ask(
            request,
            self,
            question=Question(
                title=f"Resume {tenant.name}",
                question=f"Let the API keys of {tenant.name} work again?",
                consequences=["Each key that is neither revoked nor expired is accepted at once."],
                subjects=[tenant.name],
                button="Resume",
                danger=False,
            ),
            act=lambda: _resume([tenant]),
            back=reverse("admin:tenants_tenant_change", args=[object_id]),
        )

    def get_actions_detail(self, request: HttpRequest, object_id: str) -> list[Any]:
        """Only what can be done now: an active tenant can be suspended, a suspended one resumed."""
        status = Tenant.objects.filter(pk=object_id).values_list("status", flat=True).first()
        pointless = "resume" if status == TenantStatus.ACTIVE else "suspend"
        found: list[Any] = super().get_actions_detail(request, object_id)  # type: ignore[misc]  # unfold's
        return [entry for entry in found if not entry.action_name.endswith(f"_{pointless}")]


def status_badge(tenant: Tenant) -> SafeString:
    """Active in green, suspended in red."""
    return formats.badge(tenant.get_status_display(), "success" if tenant.status == TenantStatus.ACTIVE else "danger")


def _suspension(names: list[str]) -> Question:
    return Question(
        title="Suspend " + (names[0] if len(names) == 1 else f"{len(names)} tenants"),
        question="Refuse every API key of " + (names[0] if len(names) == 1 else "these tenants") + "?",
        consequences=[
            "Calls are refused at once, on every process, with 403 and the advice to contact support.",
            "Keys, contracts and usage stay as they are, and the tenant can be resumed at any time.",
        ],
        subjects=names,
        button="Suspend",
    )


def _suspend(tenants: list[Tenant]) -> str:
    for tenant in tenants:
        tenancy.suspend(tenant=tenant)
    return "Suspended: " + (", ".join(tenant.name for tenant in tenants) or "none; all were suspended already") + "."


def _resume(tenants: list[Tenant]) -> str:
    for tenant in tenants:
        tenancy.resume(tenant=tenant)
    return "Resumed: " + (", ".join(tenant.name for tenant in tenants) or "none; all were active already") + "."
