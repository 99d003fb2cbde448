"""Who changed what, from where: the audit log's context, set only for people's pages.

Calls with API keys pass at machine speed and change no audited row unless a service says who asked for it, so they
are spared the cost of a context that is not read.
"""

from collections.abc import Callable

from auditlog.context import set_actor
from django.conf import settings
from django.http import HttpRequest, HttpResponse

from mlplatform.lib.client_address import client_address

PEOPLES_PAGES = ("/admin", "/portal")


class AuditContextMiddleware:
    """Names the signed-in person and the client's address on every audit entry of the request."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith(PEOPLES_PAGES):
            return self._get_response(request)
        address = client_address(request.META, trusted_proxies=settings.TRUSTED_PROXIES)
        with set_actor(getattr(request, "user", None), remote_addr=address):
            return self._get_response(request)
