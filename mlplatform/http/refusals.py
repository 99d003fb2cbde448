"""What the front answers itself: problems (RFC 9457) for what it does not hand on, and the word that the process lives."""

import logging
from typing import Any, Final

import orjson

from mlplatform import api_answers, error_pages
from mlplatform.http.answers import Answer, encoded
from mlplatform.lib import ids
from mlplatform.lib.errors import ErrorKind, PlatformError
from mlplatform.lib.tracing import child_traceparent
from mlplatform.middleware import content_security
from tenants.http import problems

logger = logging.getLogger(__name__)

_ALIVE: Final = orjson.dumps({"status": "ok"})


def alive(environ: dict[str, Any]) -> Answer:
    """The answer of ``/livez``: this loop turns."""
    return _answer(200, "application/json", _ALIVE, environ)


def overloaded(environ: dict[str, Any], detail: str, *, retry_after_s: float = 1.0) -> Answer:
    """503: more is under way than can be done soon."""
    return refused(PlatformError(ErrorKind.OVERLOADED, detail, retry_after_s=retry_after_s), environ)


def refused(error: PlatformError, environ: dict[str, Any]) -> Answer:
    """Any refusal: a page where a person asks, else in the words of REST."""
    request_id = ids.request_id(environ.get("HTTP_X_REQUEST_ID"))
    status = problems.TABLE[error.kind].status
    page = error_pages.page_of_front(environ.get("PATH_INFO", ""), environ.get("HTTP_ACCEPT", ""), status)
    if page is not None:
        answer = _answer(status, "text/html; charset=utf-8", page, environ, request_id=request_id)
        policy = ("Content-Security-Policy", content_security.policy_of(environ["PATH_INFO"]))
        answer.headers += encoded([policy, *problems.headers(error).items()])
        return answer
    body = orjson.dumps(problems.body(error, request_id=request_id))
    answer = _answer(status, problems.CONTENT_TYPE, body, environ, request_id=request_id)
    answer.headers += encoded(problems.headers(error).items())
    return answer


def plain(status: int, title: str, detail: str, environ: dict[str, Any] | None = None) -> Answer:
    """A problem of HTTP itself, which says no more than its status."""
    environ = environ or {}
    request_id = ids.request_id(environ.get("HTTP_X_REQUEST_ID"))
    members = {"type": "about:blank", "title": title, "status": status, "detail": detail, "request_id": request_id}
    return _answer(status, problems.CONTENT_TYPE, orjson.dumps(members), environ, request_id=request_id)


def too_slow(environ: dict[str, Any], detail: str) -> Answer:
    """408: a request that did not come in time."""
    return plain(408, "Request timeout", f"{detail} Nothing was done or charged; send the call again.", environ)


def _answer(
    status: int, content_type: str, body: bytes, environ: dict[str, Any], *, request_id: str | None = None
) -> Answer:
    headers = [
        ("Content-Type", content_type),
        ("Content-Length", str(len(body))),
        ("X-Request-Id", request_id or ids.request_id(environ.get("HTTP_X_REQUEST_ID"))),
        ("traceparent", child_traceparent(environ.get("HTTP_TRACEPARENT"))),
        *api_answers.security_headers(),
    ]
    return Answer(status, encoded(headers), body)
