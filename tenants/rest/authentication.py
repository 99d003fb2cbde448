"""From the headers of a call to its :class:`Caller`."""

from collections.abc import Callable
from typing import TypeVar

from django.conf import settings

from mlplatform.lib.client_address import client_address
from mlplatform.lib.errors import ErrorKind, PlatformError, unavailable
from tenants import authentication
from tenants.authentication import Caller
from tenants.guards import StaleCaller
from tenants.rest import wrong_keys
from tenants.rest.call import RestCall

T = TypeVar("T")


def secret_of(call: RestCall) -> str:
    """The key of ``Authorization: Bearer …`` or ``X-API-Key: …``. Raises UNAUTHENTICATED for none, MALFORMED for two."""
    header = call.META.get("HTTP_AUTHORIZATION", "")
    plain = call.META.get("HTTP_X_API_KEY", "").strip()
    bearer = ""
    if header:
        scheme, _, bearer = header.partition(" ")
        bearer = bearer.strip()
        if scheme.lower() != "bearer" or not bearer:
            raise PlatformError(ErrorKind.UNAUTHENTICATED, "Write the header as 'Authorization: Bearer <API key>'.")
    if bearer and plain and bearer != plain:
        raise PlatformError(ErrorKind.MALFORMED, "Authorization and X-API-Key hold different keys; send one.")
    if not bearer and not plain:
        raise PlatformError(
            ErrorKind.UNAUTHENTICATED, "Send your API key in the header 'Authorization: Bearer <API key>'."
        )
    return bearer or plain


def with_caller(call: RestCall, work: Callable[[Caller], T]) -> T:
    """Run ``work`` as the caller of the call; once more with a freshly read caller if its key or tenant changed."""
    secret = secret_of(call)
    address = client_address(call.META, trusted_proxies=settings.TRUSTED_PROXIES)
    known = authentication.cached(secret)
    if known is None:
        wrong_keys.refuse_if_too_many(call)
    try:
        if known is not None:
            caller = authentication.check(known, address=address)
        else:
            caller = authentication.authenticate(secret, address=address)
    except PlatformError as error:
        if error.kind is ErrorKind.UNAUTHENTICATED:
            wrong_keys.count(call)
        raise
    try:
        return work(caller)
    except StaleCaller:
        caller = authentication.authenticate(secret, address=address, fresh=True)
    try:
        return work(caller)
    except StaleCaller as error:
        raise unavailable("This key is being changed at this moment; please try again.") from error
