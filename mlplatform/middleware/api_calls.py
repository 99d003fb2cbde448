"""API calls take a short way: straight to their view, past everything that only people's pages need.

Sessions, cookies, CSRF tokens, messages and static files cost more CPU than the rest of a cached prediction. A call
with an API key uses none of them, so the middleware that provides them is not run for it. What an API answer needs
instead is here: a count, a metric, transport security, CORS where it is switched on.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from time import perf_counter
from typing import Any, Final

from django.conf import settings
from django.core.handlers.exception import response_for_exception
from django.http import HttpRequest, HttpResponse
from django.urls import ResolverMatch, resolve
from django.utils.cache import patch_vary_headers

from mlplatform import api_answers
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.http import problems
from tenants.http.call import is_brownout

API_PATH: Final = re.compile(
    r"/(?:v\d[^/]*/)?(predict|batch-predict|models|usage|limits|me|users|items|likes|oip|openai|graphql)(?:/|$)"
)
_FOR_PEOPLE_TOO: Final = "graphql"
_EXPOSED: Final = (
    "API-Version, Age, Deprecation, Link, RateLimit, RateLimit-Policy, Retry-After, Sunset, X-API-Deprecated, X-API-Sunset-Date, "
    "X-Cache, X-Input-Truncated, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, X-Request-Id, traceparent"
)
_ALLOWED: Final = (
    "API-Version, Authorization, Cache-Control, Content-Encoding, Content-Type, Prefer, X-API-Key, X-Request-Id, "
    "X-Request-Timeout, traceparent"
)
_REMEMBERED_PATHS: Final = 1024


@lru_cache(maxsize=_REMEMBERED_PATHS)
def _resolve(path: str) -> ResolverMatch:
    # Django walks its tree of patterns for each call; the paths that are called are few.
    return resolve(path)


def _is_of_a_person(request: HttpRequest) -> bool:
    """Whether a browser asks for the page to try GraphQL, or for what that page shows: with a session, without a key."""
    if request.META.get("HTTP_AUTHORIZATION") or request.META.get("HTTP_X_API_KEY"):
        return False
    return request.method in {"GET", "HEAD"} or settings.SESSION_COOKIE_NAME in request.COOKIES


class ApiCallsMiddleware:
    """Answers API calls itself, and hands everything else on."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response
        self._origins = frozenset(settings.CORS_ALLOWED_ORIGINS)
        self._https_only = settings.SECURE_SSL_REDIRECT

    def __call__(self, request: HttpRequest) -> HttpResponse:
        match = API_PATH.match(request.path_info)
        if match is None or (match[1] == _FOR_PEOPLE_TOO and _is_of_a_person(request)):
            return self._get_response(request)
        started = perf_counter()
        try:
            response = self._answer(request)
        except Exception as error:  # noqa: BLE001 - as Django itself does outside, but then nothing would be counted
            response = response_for_exception(request, error)
        headers = response.headers
        headers["Content-Length"] = str(len(response.content))
        for name, value in api_answers.security_headers():
            headers[name] = value
        if self._origins:
            self._allow(response, request.META.get("HTTP_ORIGIN", ""))
        api_answers.observe(match[1], response.status_code, perf_counter() - started, brownout=is_brownout(response))
        return response

    def _answer(self, request: HttpRequest) -> HttpResponse:
        if self._https_only and not request.is_secure():
            # Not a redirect: the key has crossed the network in clear by then, and the client would never notice.
            error = PlatformError(ErrorKind.FORBIDDEN, "Call this address by https; and replace the key that you sent.")
            return problems.plain_response(error, request)
        if self._origins and request.method == "OPTIONS" and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in request.META:
            return HttpResponse(status=204)
        match = _resolve(request.path_info)
        request.resolver_match = match
        response: Any = match.func(request, *match.args, **match.kwargs)
        if not getattr(response, "is_rendered", True):
            response = response.render()
        return response  # type: ignore[no-any-return]

    def _allow(self, response: HttpResponse, origin: str) -> None:
        patch_vary_headers(response, ["Origin"])
        if origin in self._origins:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Allow-Methods"] = "GET, POST, DELETE"
            response.headers["Access-Control-Allow-Headers"] = _ALLOWED
            response.headers["Access-Control-Expose-Headers"] = _EXPOSED
            response.headers["Access-Control-Max-Age"] = "600"
