"""The answer to a right password makes the browser known to the account (``tenants.logins``)."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from tenants import logins


class KnownBrowsersMiddleware:
    """Sets the cookie after a page found the password right; a form alone has no answer to set it on."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._get_response(request)
        email = logins.signed_in_as(request)
        if email:
            logins.remember_browser(response, email=email)
        return response
