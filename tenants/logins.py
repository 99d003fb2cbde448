"""Guards the sign-in of people against guessing: so many tries an address, and so many an account.

Used by every page that asks for a password. The counters live in the state Redis; while it is away nobody signs in,
because otherwise whoever can overload it could guess without end.
"""

from typing import Final

from django.conf import settings
from django.http import HttpRequest
from django_ratelimit.core import get_usage
from django_redis.exceptions import ConnectionInterrupted

from mlplatform.lib.client_address import client_address
from mlplatform.lib.errors import ErrorKind, PlatformError, unavailable
from mlplatform.lib.redis import FAILURES

_GROUP: Final = "tenants.logins"


def count_attempt(request: HttpRequest, *, email: str) -> None:
    """Count one try before its password is looked at.

    Raises TOO_MANY_ATTEMPTS, which says when to try again, and UNAVAILABLE when the tries cannot be counted. An
    account's limit holds for e-mail addresses that nobody has, so it tells nothing about who is known here.
    """
    address = client_address(request.META, trusted_proxies=settings.TRUSTED_PROXIES)
    _count(request, group=f"{_GROUP}.address", value=address, rate=settings.LOGINS_PER_ADDRESS)
    _count(request, group=f"{_GROUP}.account", value=email.strip().lower(), rate=settings.LOGINS_PER_ACCOUNT)


def _count(request: HttpRequest, *, group: str, value: str, rate: str) -> None:
    try:
        usage = get_usage(request, group=group, key=lambda _group, _request: value, rate=rate, increment=True)
    except (ConnectionInterrupted, *FAILURES) as error:
        raise unavailable("Signing in is not possible at the moment; please try again shortly.") from error
    if usage is None or not usage["should_limit"]:
        return
    if usage["limit"] == 0:  # django-ratelimit's way to say that it could not count
        raise unavailable("Signing in is not possible at the moment; please try again shortly.")
    wait = max(1, int(usage["time_left"]))
    raise PlatformError(
        ErrorKind.TOO_MANY_ATTEMPTS,
        f"Too many attempts to sign in. Please wait {wait} s and try again.",
        retry_after_s=float(wait),
    )
