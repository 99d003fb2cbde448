"""Errors as the Open Inference Protocol has them over HTTP, ``{"error": "…"}``: this face's one table from kind to wire.

What REST answers with 422 is 400 here, for the protocol knows a bad request by that. Over gRPC the statuses are those of
``inference.grpc.statuses``.
"""

from typing import Final

from inference.oip.tensors import words_of
from mlplatform.lib.errors import ErrorKind
from tenants.http import problems as rest_problems
from tenants.http.call import Reply

TABLE: Final[dict[ErrorKind, int]] = {
    ErrorKind.MALFORMED: 400,
    ErrorKind.INVALID_INPUT: 400,
    ErrorKind.UNPROCESSABLE: 422,
    ErrorKind.CHARGE_TOO_LARGE: 400,
    ErrorKind.UNSUPPORTED_API_VERSION: 400,
    ErrorKind.UNAUTHENTICATED: 401,
    ErrorKind.FORBIDDEN: 403,
    ErrorKind.NOT_FOUND: 404,
    ErrorKind.METHOD_NOT_ALLOWED: 405,
    ErrorKind.CONFLICT: 409,
    ErrorKind.GONE: 410,
    ErrorKind.PAYLOAD_TOO_LARGE: 413,
    ErrorKind.UNSUPPORTED_MEDIA_TYPE: 415,
    ErrorKind.QUOTA_EXCEEDED: 429,
    ErrorKind.TOO_MANY_ATTEMPTS: 429,
    ErrorKind.INTERNAL: 500,
    ErrorKind.OVERLOADED: 503,
    ErrorKind.UNAVAILABLE: 503,
    ErrorKind.BROWNOUT: 503,
    ErrorKind.TIMEOUT: 503,
    ErrorKind.NOT_CACHED: 504,
}


def reply(error: Exception, *, request_id: str) -> Reply:
    """Any exception; with Retry-After on every 429 and 503."""
    problem = rest_problems.kind_of(error)
    return Reply({"error": words_of(problem)}, status=TABLE[problem.kind], headers=rest_problems.headers(problem))
