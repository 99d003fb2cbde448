"""Predictions take a short way from the WSGI server to their handler.

Django's request, signals, middleware and URL resolver, and REST framework's request and response, cost more CPU than
admitting, answering and metering a cached prediction (figures in ADR 3). ``POST …/predict`` and ``…/batch-predict`` need
none of them, so they go straight to the same handlers that the views call. Everything that is out of the ordinary
(other methods, CORS, plain http where https is demanded) goes the long way, through Django.
"""

import re
from collections.abc import Callable, Iterable
from http.client import responses
from time import perf_counter
from typing import Any, Final

import orjson
from django.conf import settings

from inference.rest import predictions, uploads
from mlplatform import api_answers
from mlplatform.http import compression
from mlplatform.lib import ids, sql_connections
from mlplatform.lib.tracing import child_traceparent, enter_request
from tenants.http import parsers
from tenants.http.call import Reply, RestCall, problem_reply

StartResponse = Callable[..., Any]
WSGIApplication = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]

_PATH: Final = re.compile(r"/(?:(v\d[^/]{0,15})/)?(predict|batch-predict)")
_HANDLERS: Final[dict[str, tuple[Callable[[RestCall], Reply], Callable[[dict[str, Any]], Any]]]] = {
    "predict": (predictions.predict, uploads.body_of),
    "batch-predict": (predictions.batch_predict, parsers.json_of),
}
"""Each handler, and what reads its body."""


class ShortWay:
    """A WSGI application in front of Django's."""

    def __init__(self, django: WSGIApplication) -> None:
        self._django = django
        self._https_only = settings.SECURE_SSL_REDIRECT
        self._status_lines = {status: f"{status} {phrase}" for status, phrase in responses.items()}

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        match = _PATH.fullmatch(environ["PATH_INFO"])
        if match is None or environ["REQUEST_METHOD"] != "POST" or not self._is_ordinary(environ):
            return self._django(environ, start_response)
        started = perf_counter()
        request_id = ids.request_id(environ.get("HTTP_X_REQUEST_ID"))
        enter_request(request_id)
        handler, body_of = _HANDLERS[match[2]]
        call = RestCall(environ, request_id, match[1] or "", lambda: body_of(environ))
        try:
            reply = handler(call)
            body = orjson.dumps(reply.body, option=orjson.OPT_SERIALIZE_NUMPY)
        except Exception as error:  # noqa: BLE001 - each exception has its problem; unexpected ones are logged there
            reply = problem_reply(error, request_id=request_id)
            body = orjson.dumps(reply.body)
        sql_connections.let_go(after_failure=reply.status >= 500)
        packing: list[tuple[str, str]] = []
        if compression.applies(environ, len(body)):
            packed = compression.packed(environ, body)
            packing = [("Vary", "Accept-Encoding")]
            if packed is not None:
                body = packed
                packing.append(("Content-Encoding", "gzip"))
        headers = [
            ("Content-Type", reply.content_type),
            ("Content-Length", str(len(body))),
            ("Allow", "POST, OPTIONS"),
            ("X-Request-Id", request_id),
            ("traceparent", child_traceparent(environ.get("HTTP_TRACEPARENT"))),
            *api_answers.security_headers(),
            *packing,
            *reply.headers.items(),
        ]
        api_answers.observe(match[2], reply.status, perf_counter() - started, brownout=reply.brownout)
        start_response(self._status_lines[reply.status], headers)
        return (body,)

    def _is_ordinary(self, environ: dict[str, Any]) -> bool:
        return "HTTP_ORIGIN" not in environ and (not self._https_only or _is_https(environ))


def _is_https(environ: dict[str, Any]) -> bool:
    header = settings.SECURE_PROXY_SSL_HEADER
    if header and environ.get(header[0]) is not None:
        return environ[header[0]].split(",")[0].strip() == header[1]  # type: ignore[no-any-return]
    return environ.get("wsgi.url_scheme") == "https"
