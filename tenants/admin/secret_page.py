"""The page that shows a fresh secret once, to which every form that makes one redirects."""

import datetime as dt
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_GET

from mlplatform.lib.errors import PlatformError
from tenants import handed_over
from tenants.admin.kit import StaffAdmin
from tenants.api_keys import IssuedSecret
from tenants.models import ApiKey

_TICKET: Final = "secret_ticket"


def hand_over(issued: IssuedSecret, *, old_until: dt.datetime | None = None) -> HttpResponse:
    """The answer to a form that made a secret. Raises as ``handed_over.put``, within the form's transaction."""
    page = reverse("admin:tenants_apikey_secret", args=[issued.key.pk])
    response = HttpResponse(status=303, headers={"Location": page})
    response.set_cookie(
        _TICKET,
        handed_over.put(issued=issued, old_until=old_until),
        max_age=handed_over.WAITS_S,
        path=page,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )
    return response


class SecretPage(StaffAdmin[ApiKey]):
    """The view, for the admin of keys."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(require_GET(self.secret))
        return [path("<int:pk>/secret/", view, name="tenants_apikey_secret"), *super().get_urls()]

    def secret(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The secret for the browser that made it; to a reload and to other browsers it says that it was shown."""
        key = get_object_or_404(ApiKey.objects.select_related("tenant"), pk=pk)
        if not self.has_view_permission(request, key):
            raise PermissionDenied
        shown, problem = None, ""
        try:
            shown = handed_over.take(ticket=request.COOKIES.get(_TICKET, ""))
        except PlatformError as error:
            problem = error.detail
        here = shown is not None and shown.key_id == key.pk
        context: dict[str, Any] = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "object": key,
            "title": "Secret",
            "key": key,
            "shown": shown if here else None,
            "problem": problem,
            "may_rotate": self.has_change_permission(request, key),
            "media": self.media,
        }
        response = TemplateResponse(request, "admin/tenants/apikey/secret.html", context)
        response["Cache-Control"] = "no-store"
        if not problem:
            response.delete_cookie(_TICKET, path=request.path, samesite="Lax")
        return response
