"""The page of a tenant: what staff are asked about a customer, at a glance. Its form stands on a tab of its own.

Floors above add what they know: each extends ``overview``, and one template shows whatever is there.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from mlplatform.lib import clock
from tenants.admin import formats
from tenants.admin.api_key_states import state_badge
from tenants.admin.kit import StaffAdmin
from tenants.models import ApiKey, Membership, Role, Tenant, TenantStatus, User

_KEYS: Final = 8
_MEMBERS: Final = 8
_SCOPES: Final = 1


@dataclass(frozen=True, slots=True)
class Figure:
    """One number along the top: ``note`` explains it, ``tone`` colours it, ``percent`` draws a bar."""

    title: str
    value: str
    note: str
    icon: str
    tone: str = ""
    link: str = ""
    percent: int | None = None


@dataclass(frozen=True, slots=True)
class End:
    """Something that ends or begins at a moment, such as a key, a version that the tenant calls, or a plan."""

    at: dt.datetime
    what: str
    link: str = ""

    @property
    def away(self) -> str:
        """Such as ``in 12 days``."""
        return formats.words(self.at)


@dataclass(frozen=True, slots=True)
class KeyLine:
    """One key in the table."""

    name: str
    link: str
    secrets: SafeString
    may: str
    last_call: SafeString
    state: SafeString


class TenantPage(StaffAdmin[Tenant]):
    """The overview, the form, and the way between them."""

    change_form_outer_before_template = "admin/tenants/tenant/tabs.html"

    def get_urls(self) -> list[URLPattern]:
        edit = self.admin_site.admin_view(self.edit)
        return [path("<path:object_id>/edit/", edit, name="tenants_tenant_edit"), *super().get_urls()]

    def edit(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The form; who may not change the tenant reads it there."""
        return self.changeform_view(request, object_id, "", {"tab": "edit"})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if request.method == "POST":
            return super().change_view(request, object_id, form_url, {**(extra_context or {}), "tab": "edit"})
        tenant = self.get_object(request, unquote(object_id))
        if tenant is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined, no-any-return]
        if not self.has_view_or_change_permission(request, tenant):
            raise PermissionDenied
        shown = self.overview(request, tenant)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": tenant,
            "title": tenant.name,
            "tab": "overview",
            "media": self.media,
            "actions_detail": self._get_actions_navigation(  # type: ignore[attr-defined]  # unfold's
                self.actions_detail,
                self.get_actions_detail(request, object_id),  # type: ignore[attr-defined]
                object_id,
            ),
            **shown,
            "ends": sorted(shown["ends"], key=lambda end: end.at),
        }
        return TemplateResponse(request, "admin/tenants/tenant/overview.html", context)

    def response_post_save_change(self, request: HttpRequest, obj: Tenant) -> HttpResponseRedirect:
        return HttpResponseRedirect(reverse("admin:tenants_tenant_change", args=[obj.pk]))

    def overview(self, request: HttpRequest, tenant: Tenant) -> dict[str, Any]:
        """What the page shows, as far as this person may see it; ``figures``, ``ends`` and ``cards`` are lists."""
        user = request.user
        found: dict[str, Any] = {"tenant": tenant, "suspended": tenant.status == TenantStatus.SUSPENDED}
        found |= {"figures": [], "ends": [], "keys": None, "members": None}
        if user.has_perm("tenants.view_apikey"):
            keys = list(ApiKey.objects.filter(tenant=tenant, revoked_at__isnull=True).prefetch_related("secrets"))
            keys.sort(key=lambda key: key.name.lower())
            listed = f"{reverse('admin:tenants_apikey_changelist')}?tenant__id__exact={tenant.pk}"
            found |= {
                "keys": [_line(key) for key in keys[:_KEYS]],
                "more_keys": max(0, len(keys) - _KEYS),
                "keys_url": listed,
                "may_issue": user.has_perm("tenants.add_apikey"),
                "ends": list(_ends_of_keys(keys)),
                "figures": [_figure_of_keys(keys, listed)],
            }
        if user.has_perm("tenants.view_membership"):
            members = list(Membership.objects.filter(tenant=tenant).select_related("user"))
            members.sort(key=lambda member: (_ROLES.index(member.role), member.user.email))
            found |= {"members": members[:_MEMBERS], "more_members": max(0, len(members) - _MEMBERS)}
            found["may_see_people"] = isinstance(user, User) and user.has_perm("tenants.view_user")
        return found


_ROLES: Final = [role.value for role in Role]


def _line(key: ApiKey) -> KeyLine:
    now = clock.now()
    alive = [secret for secret in key.secrets.all() if secret.expires_at is None or secret.expires_at > now]
    more = f" +{len(key.scopes) - _SCOPES}" if len(key.scopes) > _SCOPES else ""
    return KeyLine(
        name=key.name,
        link=reverse("admin:tenants_apikey_change", args=[key.pk]),
        secrets=format_html_join(" ", '<code class="p-code">{}</code>', ((str(secret),) for secret in alive)),
        may=", ".join(key.scopes[:_SCOPES]) + more,
        last_call=formats.age(key.last_used_at),
        state=state_badge(key),
    )


def _figure_of_keys(keys: Sequence[ApiKey], link: str) -> Figure:
    now = clock.now()
    alive = [key for key in keys if key.expires_at is None or key.expires_at > now]
    last = max((key.last_used_at for key in keys if key.last_used_at is not None), default=None)
    note = f"last call {formats.words(last)}" if last is not None else "no call noted yet"
    return Figure("Keys that work", f"{len(alive):,}", note, "key", "" if alive else "warning", link)


def _ends_of_keys(keys: Iterable[ApiKey]) -> Iterable[End]:
    now = clock.now()
    for key in keys:
        link = reverse("admin:tenants_apikey_change", args=[key.pk])
        if key.expires_at is not None and key.expires_at > now:
            yield End(key.expires_at, f"The key {key.name} expires", link)
        for secret in key.secrets.all():
            if secret.expires_at is not None and secret.expires_at > now:
                yield End(
                    secret.expires_at, f"The replaced secret …{secret.last_four} of {key.name} stops working", link
                )
