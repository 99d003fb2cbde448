"""Guards the sign-in of people against guessing: so many tries an address, and so many an account.

Used by every page that asks for a password. The counters live in the state Redis; while it is away sign-in is refused,
because otherwise an attacker who overloads it could guess without end.

A stranger who guesses at an account must not lock its owner out, nor a neighbour behind the same address: a browser that
has signed in to the account before shows so by a signed cookie, and its tries are counted by that cookie alone.
"""

import secrets
from typing import Final

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import salted_hmac

from mlplatform.lib import rates
from mlplatform.lib.client_address import client_address
from mlplatform.lib.errors import ErrorKind, PlatformError

COOKIE: Final = "known_browser"
_GROUP: Final = "tenants.logins"
_SIGNED_IN_AS: Final = "_signed_in_as"
_KNOWN_FOR_S: Final = 180 * 24 * 3600
_AWAY: Final = "Signing in is not possible at the moment; please try again shortly."


def count_attempt(request: HttpRequest, *, email: str) -> None:
    """Count one try before its password is looked at.

    Raises TOO_MANY_ATTEMPTS, which says when to try again, and UNAVAILABLE when the tries cannot be counted. An
    account's limit holds for unknown e-mail addresses too, so it tells nothing about who is known here.
    """
    browser = _known_browser(request, email)
    if browser:
        _count(group=f"{_GROUP}.browser", value=browser, rate=settings.LOGINS_PER_ACCOUNT)
        return
    address = client_address(request.META, trusted_proxies=settings.TRUSTED_PROXIES)
    _count(group=f"{_GROUP}.address", value=address, rate=settings.LOGINS_PER_ADDRESS)
    _count(group=f"{_GROUP}.account", value=_normal(email), rate=settings.LOGINS_PER_ACCOUNT)


def succeeded(request: HttpRequest, *, email: str) -> None:
    """To be called when the password was right; the answer then makes the browser known."""
    setattr(request, _SIGNED_IN_AS, email)


def signed_in_as(request: HttpRequest) -> str:
    """The account whose password this request proved; empty for every other request."""
    return str(getattr(request, _SIGNED_IN_AS, ""))


def remember_browser(response: HttpResponse, *, email: str) -> None:
    """This browser is known to the account from now on; to be called with the answer to a right password."""
    response.set_cookie(
        COOKIE,
        signing.dumps([_mark(email), secrets.token_urlsafe(16)], salt=_GROUP),
        max_age=_KNOWN_FOR_S,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def _known_browser(request: HttpRequest, email: str) -> str:
    """The browser's own random mark if it has signed in to this account before; else empty."""
    try:
        mark, browser = signing.loads(request.COOKIES.get(COOKIE, ""), salt=_GROUP, max_age=_KNOWN_FOR_S)
    except (signing.BadSignature, ValueError, TypeError):
        return ""
    return str(browser) if mark == _mark(email) else ""


def _mark(email: str) -> str:
    """Tells an account from others without naming it to a reader of the cookie."""
    return salted_hmac(_GROUP, _normal(email), algorithm="sha256").hexdigest()[:32]


def _normal(email: str) -> str:
    return email.strip().lower()


def _count(*, group: str, value: str, rate: str) -> None:
    wait_s = rates.wait_s(group=group, key=value, rate=rate, uncounted=_AWAY)
    if wait_s:
        raise PlatformError(
            ErrorKind.TOO_MANY_ATTEMPTS,
            f"Too many attempts to sign in. Please wait {wait_s:.0f} s and try again.",
            retry_after_s=wait_s,
        )
