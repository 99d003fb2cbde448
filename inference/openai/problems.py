"""Errors as OpenAI's clients read them, ``{"error": {"message", "type", "param", "code"}}``: one table from kind to wire.

By the status the Python client chooses its exception: 400 BadRequestError, 401 AuthenticationError, 403
PermissionDeniedError, 404 NotFoundError, 409 ConflictError, 429 RateLimitError, 5xx InternalServerError.
"""

from dataclasses import dataclass
from typing import Final

from inference.inputs import truncation
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.http import problems as rest_problems
from tenants.http.call import Reply

_BAD: Final = "invalid_request_error"
_AWAY: Final = "server_error"


@dataclass(frozen=True, slots=True)
class Wire:
    """How this face says one kind of error: the status, OpenAI's word for its family, and a word for the kind itself."""

    status: int
    type: str
    code: str


TABLE: Final[dict[ErrorKind, Wire]] = {
    ErrorKind.MALFORMED: Wire(400, _BAD, "malformed_request"),
    ErrorKind.INVALID_INPUT: Wire(400, _BAD, "invalid_input"),
    ErrorKind.UNPROCESSABLE: Wire(422, _BAD, "unprocessable"),
    ErrorKind.CHARGE_TOO_LARGE: Wire(400, _BAD, "charge_too_large"),
    ErrorKind.UNSUPPORTED_API_VERSION: Wire(400, _BAD, "unsupported_api_version"),
    ErrorKind.UNAUTHENTICATED: Wire(401, _BAD, "invalid_api_key"),
    ErrorKind.FORBIDDEN: Wire(403, "permission_error", "forbidden"),
    ErrorKind.NOT_FOUND: Wire(404, _BAD, "not_found"),
    ErrorKind.METHOD_NOT_ALLOWED: Wire(405, _BAD, "method_not_allowed"),
    ErrorKind.CONFLICT: Wire(409, _BAD, "conflict"),
    ErrorKind.GONE: Wire(410, _BAD, "model_ended"),
    ErrorKind.PAYLOAD_TOO_LARGE: Wire(413, _BAD, "payload_too_large"),
    ErrorKind.UNSUPPORTED_MEDIA_TYPE: Wire(415, _BAD, "unsupported_media_type"),
    ErrorKind.QUOTA_EXCEEDED: Wire(429, "rate_limit_error", "rate_limit_exceeded"),
    ErrorKind.TOO_MANY_ATTEMPTS: Wire(429, "rate_limit_error", "too_many_attempts"),
    ErrorKind.INTERNAL: Wire(500, _AWAY, "internal_error"),
    ErrorKind.OVERLOADED: Wire(503, _AWAY, "overloaded"),
    ErrorKind.UNAVAILABLE: Wire(503, _AWAY, "unavailable"),
    ErrorKind.BROWNOUT: Wire(503, _AWAY, "brownout"),
    ErrorKind.TIMEOUT: Wire(503, _AWAY, "timeout"),
    ErrorKind.NOT_CACHED: Wire(504, _BAD, "not_cached"),
}
_NO_MODEL: Final = "model_not_found"
_TOO_LONG: Final = "context_length_exceeded"
_HOW_TO_CUT: Final = '"truncate_prompt_tokens": -1'


def reply(error: Exception, *, request_id: str) -> Reply:
    """Any exception; with Retry-After on every 429 and 503, which the client heeds when it tries again by itself."""
    problem = rest_problems.kind_of(error)
    wire = TABLE[problem.kind]
    body = {
        "message": truncation.in_words(problem, _HOW_TO_CUT),
        "type": wire.type,
        "param": problem.field,
        "code": _code(problem, wire),
    }
    return Reply({"error": body}, status=wire.status, headers=rest_problems.headers(problem))


def _code(problem: PlatformError, wire: Wire) -> str:
    """OpenAI's own word where it has one."""
    if problem.kind is ErrorKind.NOT_FOUND and problem.field == "model":
        return _NO_MODEL
    return _TOO_LONG if truncation.is_too_long(problem) else wire.code
