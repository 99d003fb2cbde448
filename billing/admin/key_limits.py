"""What billing adds to the page of a key: its limits now, and what they refused."""

from typing import Any

from django.contrib.admin.utils import unquote
from django.http import HttpRequest, HttpResponse

from billing import customer_view
from billing.admin.find_call import find_url
from tenants.admin.api_keys import ApiKeyAdmin


class ApiKeyWithLimitsAdmin(ApiKeyAdmin):
    """Registered by the roof."""

    change_form_outer_before_template = "admin/tenants/apikey/now.html"

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        key = self.get_queryset(request).select_related("tenant").filter(pk=unquote(object_id)).first()
        if key is not None and self.has_view_permission(request, key):
            now = {
                "limits": customer_view.limits_of_key(key) if key.revoked_at is None else [],
                "refusals": customer_view.refusals_of_key(key),
                "revoked": key.revoked_at,
                "find_url": find_url(),
            }
            extra_context = {**(extra_context or {}), "now": now}
        return super().change_view(request, object_id, form_url, extra_context)
