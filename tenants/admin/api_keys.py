"""API keys: issue, change, rotate, revoke. A secret is shown once, on the page after the form."""

import datetime as dt
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from mlplatform.lib import clock
from mlplatform.lib.errors import PlatformError
from tenants import api_keys
from tenants.admin import formats
from tenants.admin.api_key_forms import ApiKeyForm, RotationForm
from tenants.admin.api_key_states import KeyStateFilter, state_badge
from tenants.admin.confirmation import Question, ask
from tenants.admin.kit import action, display
from tenants.admin.secret_page import SecretPage, hand_over
from tenants.models import ApiKey, ApiKeySecret, User
from tenants.scopes import SCOPES

_FACTS = ["state", "uid", "secrets_in_full", "last_used", "created_by", "created_at"]
_IN_WORDS = ["scopes_in_words", "models_in_words", "networks_in_words", "pin_in_words"]
_RIGHTS = ["scopes", "allowed_models", "allowed_cidrs", "pinned_api_version", "trusted_documents_only", "expires_at"]
_RIGHTS_TO_READ = [*_IN_WORDS, "trusted_documents_only", "expires_at"]
_ISSUED = "_issued_secret"
_MANAGES_MODELS = "inference.change_mlmodel"


class ApiKeyAdmin(SecretPage):
    form = ApiKeyForm
    list_display = ["title", "tenant", "state", "secrets_masked", "scope_list", "last_used"]
    list_filter = [KeyStateFilter, "mode", "tenant"]
    list_select_related = ["tenant"]
    search_fields = ["name", "uid", "tenant__name", "tenant__slug", "secrets__last_four"]
    search_help_text = "Name, key id, tenant, or the last four characters of a secret"
    autocomplete_fields = ["tenant"]
    actions_detail = ["rotate", "revoke"]

    def model_names(self) -> list[str]:
        """The names that a key can be limited to; the roof knows them."""
        return []

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiKey]:
        return super().get_queryset(request).prefetch_related("secrets")

    def get_form(self, request: HttpRequest, obj: ApiKey | None = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        form.model_names = self.model_names()  # type: ignore[attr-defined]  # ApiKeyForm's
        return form

    def get_fieldsets(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        who = ["tenant", "name", "mode"]
        if obj is None:
            return [(None, {"fields": who}), ("What it may do", {"fields": _RIGHTS})]
        rights = _RIGHTS if self.has_change_permission(request, obj) else _RIGHTS_TO_READ
        return [(None, {"fields": who}), ("What it may do", {"fields": rights}), ("The key", {"fields": _FACTS})]

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> list[str]:
        return _FACTS if obj is None else ["tenant", "mode", *_FACTS, *_IN_WORDS]

    def get_inlines(self, request: HttpRequest, obj: ApiKey | None) -> Any:
        return [] if obj is None else super().get_inlines(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        # A key's usage is read for years: revoke it instead.
        return False

    def has_change_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        revoked = isinstance(obj, ApiKey) and obj.revoked_at is not None
        return super().has_change_permission(request, obj) and not revoked

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        _require_power(request, obj)
        if change:
            super().save_model(request, obj, form, change)
            return
        issued = api_keys.issue(
            tenant=obj.tenant,
            name=obj.name,
            scopes=obj.scopes,
            mode=obj.mode,
            allowed_models=obj.allowed_models,
            allowed_cidrs=obj.allowed_cidrs,
            pinned_api_version=obj.pinned_api_version,
            trusted_documents_only=obj.trusted_documents_only,
            expires_at=obj.expires_at,
            created_by=request.user if isinstance(request.user, User) else None,
        )
        obj.__dict__.update(issued.key.__dict__)
        # It travels on the row object of this request only, to the page that answers it.
        setattr(obj, _ISSUED, issued)

    def publish(self, obj: ApiKey) -> None:
        if not hasattr(obj, _ISSUED):
            api_keys.changed(key=obj)

    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None) -> HttpResponse:
        return hand_over(getattr(obj, _ISSUED))

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().changeform_view(request, *args, **kwargs)
        except PlatformError as error:
            messages.error(request, error.detail)
            return HttpResponseRedirect(request.get_full_path())

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        if kwargs.get("add"):
            context = {**context, "show_save_and_add_another": False, "show_save_and_continue": False}
        return super().render_change_form(request, context, *args, **kwargs)

    @display(description="Key", ordering="name", header=True)
    def title(self, key: ApiKey) -> list[str]:
        return [key.name, key.uid]

    @display(description="State")
    def state(self, key: ApiKey) -> SafeString:
        return state_badge(key)

    @display(description="Secrets")
    def secrets_masked(self, key: ApiKey) -> SafeString:
        alive = [secret for secret in key.secrets.all() if secret.expires_at is None or secret.expires_at > clock.now()]
        return format_html_join("", '<code class="p-code">{}</code> ', ((str(secret),) for secret in alive))

    @display(description="Secrets")
    def secrets_in_full(self, key: ApiKey) -> SafeString:
        return format_html_join(
            "", "<div>{} {}</div>", ((formats.code(str(secret)), _life(secret)) for secret in key.secrets.all())
        )

    @display(description="Scopes")
    def scopes_in_words(self, key: ApiKey) -> SafeString:
        lines = ((scope, SCOPES.get(scope, "")) for scope in key.scopes)
        return format_html_join("", '<div>{} <span class="p-subtle">{}</span></div>', lines)

    @display(description="Allowed models")
    def models_in_words(self, key: ApiKey) -> str:
        return ", ".join(key.allowed_models) or "every model"

    @display(description="Allowed networks")
    def networks_in_words(self, key: ApiKey) -> str:
        return ", ".join(key.allowed_cidrs) or "every address"

    @display(description="Pinned API version")
    def pin_in_words(self, key: ApiKey) -> str:
        return key.pinned_api_version or "none: the platform's default"

    @display(description="Scopes")
    def scope_list(self, key: ApiKey) -> str:
        return ", ".join(key.scopes)

    @display(description="Last used", ordering="last_used_at")
    def last_used(self, key: ApiKey) -> SafeString:
        return formats.age(key.last_used_at)

    @action(description="Rotate", permissions=["change"], icon="autorenew")
    def rotate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        key = get_object_or_404(ApiKey.objects.select_related("tenant"), pk=object_id)
        _require_power(request, key)
        form = RotationForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            overlap: dt.timedelta = form.cleaned_data["overlap"]
            try:
                with transaction.atomic():
                    return hand_over(api_keys.rotate(key=key, overlap=overlap), old_until=clock.now() + overlap)
            except PlatformError as error:
                messages.error(request, error.detail)
                return HttpResponseRedirect(reverse("admin:tenants_apikey_change", args=[object_id]))
        return self._rotation_page(request, key, form)

    def _rotation_page(self, request: HttpRequest, key: ApiKey, form: forms.Form) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Rotate {key.name}",
            "key": key,
            "form": form,
            "back": reverse("admin:tenants_apikey_change", args=[key.pk]),
            "media": self.media,
        }
        return TemplateResponse(request, "admin/tenants/apikey/rotate.html", context)

    @action(description="Revoke", permissions=["change"], icon="key_off")
    def revoke(self, request: HttpRequest, object_id: str) -> HttpResponse:
        key = get_object_or_404(ApiKey.objects.select_related("tenant"), pk=object_id)

        def act() -> str:
            api_keys.revoke(key=key)
            return f"{key} was revoked."

        return ask(
            request,
            self,
            question=Question(
                title=f"Revoke {key.name}",
                question=f"Refuse every secret of this key of {key.tenant.name} for good?",
                consequences=[
                    "Calls with it are refused at once, on every process.",
                    "This cannot be undone. To replace a secret without a gap, rotate the key instead.",
                    f"It was last used {formats.words(key.last_used_at)}."
                    if key.last_used_at
                    else "It was never used.",
                ],
                subjects=[str(key)],
                button="Revoke",
            ),
            act=act,
            back=reverse("admin:tenants_apikey_change", args=[object_id]),
        )

    def get_actions_detail(self, request: HttpRequest, object_id: str) -> list[Any]:
        """A revoked key can neither be rotated nor revoked again."""
        if ApiKey.objects.filter(Q(pk=object_id) & Q(revoked_at__isnull=False)).exists():
            return []
        found: list[Any] = super().get_actions_detail(request, object_id)  # type: ignore[misc]  # unfold's
        return found


def _require_power(request: HttpRequest, key: ApiKey) -> None:
    """An operator's key manages every model, so who gets a secret of one must have that right. Raises PermissionDenied."""
    if key.tenant.operator and "models:write" in key.scopes and not request.user.has_perm(_MANAGES_MODELS):
        raise PermissionDenied("A key that manages every model is issued by staff who may change models.")


def _life(secret: ApiKeySecret) -> str:
    made = f"made {formats.words(secret.created_at)}"
    if secret.expires_at is None:
        return made
    verb = "ended" if secret.expires_at <= clock.now() else "ends"
    return f"{made}, {verb} {formats.words(secret.expires_at)}"
