"""People: members of tenants, and staff with their roles. Only a superuser changes staff and their roles."""

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from tenants.admin import formats
from tenants.admin.kit import DjangoUserAdmin, StaffAdmin, StaffTabularInline, display
from tenants.models import Membership, User

if TYPE_CHECKING:
    from django.contrib.auth import forms as auth_forms
    from django.contrib.auth.forms import AdminPasswordChangeForm

    class UserChangeForm(auth_forms.UserChangeForm[User]): ...

    class UserCreationForm(auth_forms.AdminUserCreationForm[User]): ...

else:
    from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

_POWERS = ["is_staff", "is_superuser", "groups", "user_permissions"]


class PersonCreationForm(UserCreationForm):
    """A new person with an e-mail address, kept in lower case."""

    class Meta:
        model = User
        fields = ["email", "full_name"]
        field_classes: ClassVar[dict[str, Any]] = {}

    def clean_email(self) -> str:
        email: str = self.cleaned_data["email"].lower()
        if User.objects.filter(email=email).exists():
            raise ValidationError("There is a person with this e-mail address already.")
        return email


class PersonChangeForm(UserChangeForm):
    class Meta:
        model = User
        fields = "__all__"
        field_classes: ClassVar[dict[str, Any]] = {}

    def clean_email(self) -> str:
        return str(self.cleaned_data["email"]).lower()


class MembershipInline(StaffTabularInline):
    model = Membership
    autocomplete_fields = ["tenant"]
    fields = ["tenant", "role"]


@admin.register(User)
class UserAdmin(DjangoUserAdmin[User], StaffAdmin[User]):
    form = PersonChangeForm
    add_form = PersonCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ["person", "belongs_to", "staff_badge", "active_badge", "last_seen"]
    list_filter = ["is_staff", "is_active", "groups"]
    search_fields = ["email", "full_name", "memberships__tenant__name"]
    search_help_text = "E-mail address, name, or tenant"
    ordering = ["email"]
    inlines = [MembershipInline]
    readonly_fields = ["last_login", "date_joined"]
    filter_horizontal = []
    autocomplete_fields = []
    add_fieldsets = [(None, {"fields": ["email", "full_name", "usable_password", "password1", "password2"]})]
    fieldsets = [
        (None, {"fields": ["email", "full_name", "password"]}),
        ("May sign in", {"fields": ["is_active", "is_staff", "is_superuser", "groups"]}),
        ("Dates", {"fields": ["last_login", "date_joined"]}),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        memberships = Membership.objects.select_related("tenant")
        return super().get_queryset(request).prefetch_related(Prefetch("memberships", memberships), "groups")

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> list[str]:
        powers = [] if _is_superuser(request) else _POWERS
        return [*self.readonly_fields, *powers]

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        powerful = isinstance(obj, User) and (obj.is_staff or obj.is_superuser)
        return super().has_change_permission(request, obj) and (not powerful or _is_superuser(request))

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        # The audit log names people for years: clear "active" instead.
        return False

    @display(description="Person", ordering="email", header=True)
    def person(self, user: User) -> list[str]:
        return [user.email, user.full_name]

    @display(description="Member of")
    def belongs_to(self, user: User) -> str:
        return (
            ", ".join(f"{entry.tenant.name} ({entry.get_role_display().lower()})" for entry in user.memberships.all())
            or "–"
        )

    @display(description="Staff", ordering="is_staff")
    def staff_badge(self, user: User) -> SafeString:
        if user.is_superuser:
            return formats.badge("Superuser", "warning")
        if user.is_staff:
            return formats.badge(", ".join(group.name for group in user.groups.all()) or "no role", "info")
        return formats.badge("Member", "neutral")

    @display(description="Active", ordering="is_active")
    def active_badge(self, user: User) -> SafeString:
        return formats.badge("Active", "success") if user.is_active else formats.badge("Blocked", "danger")

    @display(description="Last sign-in", ordering="last_login")
    def last_seen(self, user: User) -> SafeString:
        return formats.age(user.last_login)


def _is_superuser(request: HttpRequest) -> bool:
    return isinstance(request.user, User) and request.user.is_superuser
