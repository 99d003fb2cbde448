"""People: members of tenants, and staff with their roles. Only a superuser changes staff and their roles.

Both share a list and differ by its filter, so the form of a new person follows the list that it was opened from.
"""

from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.safestring import SafeString
from kombu.exceptions import OperationalError

from mlplatform.lib.errors import unavailable
from tenants import password_links
from tenants.admin import formats
from tenants.admin.confirmation import Question, ask
from tenants.admin.kit import DjangoUserAdmin, ModelForm, StaffAdmin, StaffTabularInline, action, display
from tenants.admin.member_forms import MembershipForm
from tenants.models import Membership, User

if TYPE_CHECKING:
    from django.contrib.auth import forms as auth_forms
    from django.contrib.auth.forms import AdminPasswordChangeForm

    class UserChangeForm(auth_forms.UserChangeForm[User]): ...

else:
    from unfold.forms import AdminPasswordChangeForm, UserChangeForm

_POWERS = ["is_staff", "is_superuser", "groups", "user_permissions"]
_STAFF: Final = ("is_staff__exact", "1")


class PersonCreationForm(ModelForm[User]):
    """A new person with an e-mail address, kept in lower case, who sets the password by a link."""

    class Meta:
        model = User
        fields = ["email", "full_name", "groups", "is_superuser"]

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
    form = MembershipForm
    autocomplete_fields = ["tenant"]
    fields = ["tenant", "role"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        return super().get_queryset(request).select_related("user", "tenant")


@admin.register(User)
class UserAdmin(DjangoUserAdmin[User], StaffAdmin[User]):
    form = PersonChangeForm
    add_form = PersonCreationForm
    add_form_template = None
    change_password_form = AdminPasswordChangeForm
    list_display = ["person", "belongs_to", "staff_badge", "active_badge", "last_seen"]
    list_filter = ["is_staff", "is_active", "groups"]
    search_fields = ["email", "full_name", "memberships__tenant__name"]
    search_help_text = "E-mail address, name, or tenant"
    ordering = ["email"]
    inlines = [MembershipInline]
    readonly_fields = ["password_state", "last_login", "date_joined"]
    filter_horizontal = []
    autocomplete_fields = []
    actions_detail = ["password_link"]
    fieldsets = [
        (None, {"fields": ["email", "full_name", "password_state"]}),
        ("May sign in", {"fields": ["is_active", "is_staff", "is_superuser", "groups"]}),
        ("Dates", {"fields": ["last_login", "date_joined"]}),
    ]

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "groups":
            kwargs |= {
                "label": "Roles",
                "help_text": "What the person may do in this admin; hold Ctrl to choose several.",
            }
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        memberships = Membership.objects.select_related("tenant")
        return super().get_queryset(request).prefetch_related(Prefetch("memberships", memberships), "groups")

    @property
    def add_words(self) -> str:
        return "Add person"

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        if obj is not None:
            return super().get_fieldsets(request, obj)
        about = {
            "fields": ["email", "full_name"],
            "description": "A link to set the password is mailed to this address.",
        }
        if not _from_staff(request):
            return [(None, about)]
        return [(None, about), ("May do in this admin", {"fields": ["groups", "is_superuser"]})]

    def get_inlines(self, request: HttpRequest, obj: User | None) -> Any:
        return [] if obj is None and _from_staff(request) else super().get_inlines(request, obj)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return super().has_add_permission(request) and (_is_superuser(request) or not _from_staff(request))

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        if not change:
            obj.set_unusable_password()
            obj.is_staff = _from_staff(request)
            obj.is_superuser = obj.is_staff and obj.is_superuser
        super().save_model(request, obj, form, change)
        if not change:
            password_links.offer(obj)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        try:
            return super().add_view(request, form_url, extra_context)
        except OperationalError:
            # The task is sent after the commit, so the person is there; only the worker was not told.
            messages.warning(
                request, "The person was added, but the link could not be mailed: mail it from their page."
            )
            return HttpResponseRedirect(reverse("admin:tenants_user_changelist"))

    def response_add(self, request: HttpRequest, obj: User, post_url_continue: str | None = None) -> HttpResponse:
        messages.success(request, f"{obj} is mailed a link to set a password.")
        return HttpResponseRedirect(reverse("admin:tenants_user_change", args=[obj.pk]))

    @action(description="Mail a password link", permissions=["change"], icon="forward_to_inbox")
    def password_link(self, request: HttpRequest, object_id: str) -> HttpResponse:
        person = get_object_or_404(User, pk=object_id)
        if not self.has_change_permission(request, person):
            raise PermissionDenied

        def act() -> str:
            try:
                password_links.offer(person)
            except OperationalError as error:
                raise unavailable("The mail cannot be ordered at the moment. Try again in a minute.") from error
            return f"{person} is mailed a link to set a password."

        return ask(
            request,
            self,
            question=Question(
                title="Mail a password link",
                question=f"Mail {person} a link to set a password?",
                consequences=[
                    f"It works once, for {settings.PASSWORD_RESET_TIMEOUT // 86_400} days.",
                    "A password that is set already works until the link is used.",
                ],
                subjects=[str(person)],
                button="Mail the link",
                danger=False,
            ),
            act=act,
            back=reverse("admin:tenants_user_change", args=[object_id]),
        )

    def get_actions_detail(self, request: HttpRequest, object_id: str) -> list[Any]:
        """A blocked person is mailed nothing."""
        person = User.objects.filter(pk=object_id, is_active=True).first()
        if person is None or not self.has_change_permission(request, person):
            return []
        found: list[Any] = super().get_actions_detail(request, object_id)  # type: ignore[misc]  # unfold's
        return found

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> list[str]:
        powers = [] if _is_superuser(request) or obj is None else _POWERS
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

    @display(description="Password")
    def password_state(self, user: User) -> str:
        return (
            "set" if user.has_usable_password() else "not set yet; a link to set it was mailed, and can be mailed again"
        )

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


def _from_staff(request: HttpRequest) -> bool:
    """Whether the list of staff is open, or the form of a new person that was opened from it."""
    name, value = _STAFF
    before = QueryDict(request.GET.get("_changelist_filters", ""))
    return value in (request.GET.get(name), before.get(name))


def _is_superuser(request: HttpRequest) -> bool:
    return isinstance(request.user, User) and request.user.is_superuser
