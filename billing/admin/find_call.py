"""The page "Find a call": what became of a call, by the request id that its answer carried."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from billing import customer_view
from billing.models import UsageRecord
from mlplatform.lib.errors import PlatformError
from tenants.admin.kit import FactsAdmin

_MAX_CHARS = 128


def find_url() -> str:
    """The page's address, to which ``?request_id=`` is put."""
    return reverse("admin:billing_usagerecord_find")


class FindCallPage(FactsAdmin[UsageRecord]):
    """The view, for the admin of usage records."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.find)
        return [path("find/", view, name="billing_usagerecord_find"), *super().get_urls()]

    def find(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        request_id = request.GET.get("request_id", "").strip().replace("\x00", "")[:_MAX_CHARS]
        calls, problem = [], ""
        try:
            calls = customer_view.find_calls(request_id) if request_id else []
        except PlatformError:
            problem = "The state Redis does not answer, so refusals cannot be looked for. Try again in a minute."
        context: dict[str, Any] = {
            **self.admin_site.each_context(request),
            "model_admin": self,
            "title": "Find a call",
            "request_id": request_id,
            "calls": calls,
            "problem": problem,
            "media": self.media,
        }
        return TemplateResponse(request, "admin/billing/find_call.html", context)
