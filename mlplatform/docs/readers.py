"""Who reads a page: the public, or the tenant whose key the call carries, for what concerns its own private models."""

from django.conf import settings
from django.http import HttpRequest

from mlplatform.lib.client_address import client_address
from tenants import authentication, calling


def tenant_id_of(request: HttpRequest) -> int | None:
    """The tenant whose key the call carries; None without one. Raises what a wrong key raises everywhere.

    The key's rows are read each time: pages ask no guard, and a revoked key must be refused at once.
    """
    authorization = request.META.get("HTTP_AUTHORIZATION", "")
    api_key = request.META.get("HTTP_X_API_KEY", "").strip()
    if not authorization and not api_key:
        return None
    secret = calling.secret_of(authorization=authorization, api_key=api_key)
    address = client_address(request.META, trusted_proxies=settings.TRUSTED_PROXIES)
    calling.caller_of(secret, address=address)
    return authentication.authenticate(secret, address=address, fresh=True).tenant_id
