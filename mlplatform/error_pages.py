"""Answers for addresses that do not exist, for refusals and for mistakes of the service: problems for programs, pages for people.

A page reads no row and runs no context processor, so that it can say that the database is away.
"""

import re
import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from redis.exceptions import RedisError

from mlplatform.lib.errors import ErrorKind, PlatformError, unavailable
from mlplatform.middleware.api_calls import API_PATH
from tenants.http import problems

_PEOPLES_PAGES: Final = re.compile(r"/(?:admin|portal|docs|people|static)(?:/|$)")
_VERSIONED: Final = re.compile(r"/v\d")


@dataclass(frozen=True, slots=True)
class _Words:
    """What a page says: its heading, and a sentence on what to do."""

    title: str
    advice: str


_WORDS: Final = {
    400: _Words("The request cannot be read", "Go back, reload the page and try once more."),
    403: _Words("Not for this account", "Your role does not include this page. Ask a colleague who manages the roles."),
    404: _Words("There is nothing here", "The address is mistyped, or what stood here was deleted."),
    500: _Words(
        "A mistake on our side", "It has been logged. Try once more; if it comes again, tell us the request id."
    ),
    503: _Words(
        "Away for a moment", "A part of the service does not answer. Nothing was changed; try again in a few seconds."
    ),
}
_STALE_FORM: Final = _Words(
    "The form is out of date",
    "You signed in or out since the page was opened, or the browser keeps no cookies. Nothing was changed: go back, reload "
    "the page and send it again.",
)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a page stands, and the way back from it."""

    name: str
    path: str


_ADMIN: Final = _Place("Start page of the admin", "/admin/")
_DOCUMENTS: Final = _Place("All documents", "/docs")
_HOME: Final = _Place("Home", "/")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400: what Django itself refuses to read."""
    error = PlatformError(ErrorKind.MALFORMED, "The request cannot be read: it is cut off or has too many parts.")
    return _answer(request, error)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403: a page that the person's role does not include."""
    return _answer(request, PlatformError(ErrorKind.FORBIDDEN, "This is not allowed to you."))


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403: a form without the token of this browser; most often its page was opened before the person signed in."""
    return _answer(
        request, PlatformError(ErrorKind.FORBIDDEN, f"The form's token is missing or wrong: {reason}"), _STALE_FORM
    )


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404: an address that does not exist."""
    detail = f"There is nothing at {request.path_info[:200]}; /docs lists the addresses."
    return _answer(request, PlatformError(ErrorKind.NOT_FOUND, detail))


def server_error(request: HttpRequest) -> HttpResponse:
    """500, or what the failed view had to say: 503 while SQL or Redis is away. Django has logged it with the request id."""
    exception = sys.exc_info()[1]
    if isinstance(exception, RedisError):
        exception = unavailable("The counters are away for a moment; nothing was charged.")
    if isinstance(exception, PlatformError | OperationalError | InterfaceError):
        return _answer(request, problems.kind_of(exception))
    return _answer(
        request, PlatformError(ErrorKind.INTERNAL, "Something went wrong here; the request id helps us to find it.")
    )


def page_of_front(path: str, accept: str, status: int) -> bytes | None:
    """The page for a request that no thread has looked at, or None where a program asks. Rendered once for each place."""
    if status not in _WORDS or not _wants_a_page(path, accept):
        return None
    return _rendered(_place(path), status)


@lru_cache(maxsize=64)
def _rendered(place: _Place, status: int) -> bytes:
    return render_to_string("error.html", {"status": status, "words": _WORDS[status], "place": place}).encode()


def _answer(request: HttpRequest, error: PlatformError, words: _Words | None = None) -> HttpResponse:
    if not _wants_a_page(request.path_info, request.META.get("HTTP_ACCEPT", "")):
        return problems.plain_response(error, request)
    status = problems.TABLE[error.kind].status
    known = words or _WORDS.get(status) or _Words(problems.TABLE[error.kind].title, error.detail)
    content = render_to_string(
        "error.html",
        {
            "status": status,
            "words": known,
            "place": _place(request.path_info),
            "request_id": getattr(request, "request_id", ""),
            "signed_in_as": _signed_in_as(request) if status == 403 else "",
        },
    )
    return HttpResponse(content, status=status, headers=problems.headers(error))


def _wants_a_page(path: str, accept: str) -> bool:
    """Pages are for people; of the other addresses those that a browser opens and that belong to no API."""
    if _PEOPLES_PAGES.match(path):
        return True
    if _VERSIONED.match(path) or API_PATH.match(path):
        return False
    return "text/html" in accept


def _place(path: str) -> _Place:
    if path.startswith("/admin"):
        return _ADMIN
    return _DOCUMENTS if path.startswith("/docs") else _HOME


def _signed_in_as(request: HttpRequest) -> str:
    user = getattr(request, "user", None)
    return str(user) if user is not None and user.is_authenticated else ""
