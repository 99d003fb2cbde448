"""From the headers of an HTTP call to its :class:`Caller`."""

from collections.abc import Callable
from typing import TypeVar

from django.conf import settings

from mlplatform.lib.client_address import client_address
from tenants import calling
from tenants.authentication import Caller
from tenants.http.call import RestCall

T = TypeVar("T")


def secret_of(call: RestCall) -> str:
    """The key that the headers hold. Raises UNAUTHENTICATED for none, MALFORMED for two."""
    return calling.secret_of(
        authorization=call.META.get("HTTP_AUTHORIZATION", ""), api_key=call.META.get("HTTP_X_API_KEY", "").strip()
    )


def with_caller(call: RestCall, work: Callable[[Caller], T]) -> T:
    """Run ``work`` as the caller of the call; again with a freshly read caller if its key or tenant changed."""
    address = client_address(call.META, trusted_proxies=settings.TRUSTED_PROXIES)
    return calling.as_caller(secret_of(call), address=address, work=work)
