"""The request id: accepted if sane, else made; on the answer and on every log line. W3C trace context in and out."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from mlplatform.lib import ids
from mlplatform.lib.tracing import RequestIdFilter, child_traceparent, enter_request

__all__ = ["RequestContextMiddleware", "RequestIdFilter", "child_traceparent", "enter_request"]


class RequestContextMiddleware:
    """Outermost, so that even an answer made by another middleware carries the id."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request_id = ids.request_id(request.META.get("HTTP_X_REQUEST_ID"))
        request.request_id = request_id  # type: ignore[attr-defined]
        enter_request(request_id)
        response = self._get_response(request)
        response.headers["X-Request-Id"] = request_id
        response.headers["traceparent"] = child_traceparent(request.META.get("HTTP_TRACEPARENT"))
        return response
