"""Content-Security-Policy for pages: nothing is loaded from elsewhere."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

_SELF_ONLY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
# Unfold's Alpine evaluates expressions in attributes. No script stands in a page itself, so none that does is run.
_WITH_SCRIPTS = _SELF_ONLY + "; script-src 'self' 'unsafe-eval'"
_SCRIPTED_PAGES = ("/admin",)


class ContentSecurityMiddleware:
    """Adds the policy to HTML answers; API answers stay as lean as they are."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._get_response(request)
        if response.get("Content-Type", "").startswith("text/html"):
            response.headers.setdefault("Content-Security-Policy", policy_of(request.path_info))
        return response


def policy_of(path: str) -> str:
    """The policy of the page at this path."""
    return _WITH_SCRIPTS if path.startswith(_SCRIPTED_PAGES) else _SELF_ONLY
