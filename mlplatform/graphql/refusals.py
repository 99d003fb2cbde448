"""Errors as GraphQL says them: the face's one complete table from kind to wire, and what only GraphQL can refuse."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from graphql import GraphQLError
from prometheus_client import Counter

from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.http import problems

_refusals: Final = Counter("mlplatform_graphql_errors_total", "Errors in GraphQL answers, by code.", ["code"])

MAX_TOLD: Final = 10
"""Of many mistakes in one document, the first are enough to correct it."""


@dataclass(frozen=True, slots=True)
class Wire:
    """``status`` is the HTTP status where the error is that of the whole request."""

    code: str
    status: int


TABLE: Final[dict[ErrorKind, Wire]] = {
    ErrorKind.MALFORMED: Wire("MALFORMED", 400),
    ErrorKind.UNSUPPORTED_API_VERSION: Wire("UNSUPPORTED_API_VERSION", 400),
    ErrorKind.UNAUTHENTICATED: Wire("UNAUTHENTICATED", 401),
    ErrorKind.FORBIDDEN: Wire("FORBIDDEN", 403),
    ErrorKind.NOT_FOUND: Wire("NOT_FOUND", 404),
    ErrorKind.METHOD_NOT_ALLOWED: Wire("METHOD_NOT_ALLOWED", 405),
    ErrorKind.CONFLICT: Wire("CONFLICT", 409),
    ErrorKind.GONE: Wire("GONE", 410),
    ErrorKind.PAYLOAD_TOO_LARGE: Wire("PAYLOAD_TOO_LARGE", 413),
    ErrorKind.UNSUPPORTED_MEDIA_TYPE: Wire("UNSUPPORTED_MEDIA_TYPE", 415),
    ErrorKind.INVALID_INPUT: Wire("INVALID_INPUT", 422),
    ErrorKind.UNPROCESSABLE: Wire("UNPROCESSABLE", 422),
    ErrorKind.CHARGE_TOO_LARGE: Wire("CHARGE_TOO_LARGE", 422),
    ErrorKind.QUOTA_EXCEEDED: Wire("QUOTA_EXCEEDED", 429),
    ErrorKind.TOO_MANY_ATTEMPTS: Wire("TOO_MANY_ATTEMPTS", 429),
    ErrorKind.INTERNAL: Wire("INTERNAL", 500),
    ErrorKind.OVERLOADED: Wire("OVERLOADED", 503),
    ErrorKind.UNAVAILABLE: Wire("UNAVAILABLE", 503),
    ErrorKind.BROWNOUT: Wire("BROWNOUT", 503),
    ErrorKind.TIMEOUT: Wire("TIMEOUT", 503),
    ErrorKind.NOT_CACHED: Wire("NOT_CACHED", 504),
}

PARSE_FAILED: Final = "GRAPHQL_PARSE_FAILED"
VALIDATION_FAILED: Final = "GRAPHQL_VALIDATION_FAILED"
VARIABLES_INVALID: Final = "VARIABLES_INVALID"
OPERATION_UNKNOWN: Final = "OPERATION_UNKNOWN"
NOT_ACCEPTABLE: Final = "NOT_ACCEPTABLE"
DOCUMENT_TOO_LARGE: Final = "DOCUMENT_TOO_LARGE"
TOO_MANY_TOKENS: Final = "TOO_MANY_TOKENS"
TOO_DEEP: Final = "TOO_DEEP"
TOO_MANY_ALIASES: Final = "TOO_MANY_ALIASES"
TOO_MANY_DIRECTIVES: Final = "TOO_MANY_DIRECTIVES"
TOO_MANY_FRAGMENTS: Final = "TOO_MANY_FRAGMENTS"
TOO_MANY_OPERATIONS: Final = "TOO_MANY_OPERATIONS"
TOO_MANY_VARIABLES: Final = "TOO_MANY_VARIABLES"
TOO_MANY_FIELDS: Final = "TOO_MANY_FIELDS"
TOO_MANY_VALUES: Final = "TOO_MANY_VALUES"
FRAGMENT_CYCLE: Final = "FRAGMENT_CYCLE"
BATCH_TOO_LARGE: Final = "BATCH_TOO_LARGE"
COST_TOO_HIGH: Final = "COST_TOO_HIGH"
DOCUMENT_NOT_FOUND: Final = "DOCUMENT_NOT_FOUND"
TRUSTED_DOCUMENTS_ONLY: Final = "TRUSTED_DOCUMENTS_ONLY"


class Refusal(PlatformError):
    """A request or document that is refused before anything runs, with a code of GraphQL's own.

    ``parsed`` tells whether the document could be read: from then on ``application/json`` answers 200, as clients of
    that media type expect. ``told`` are the single mistakes where there are several.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        status: int = 400,
        parsed: bool = False,
        field: str | None = None,
        told: Sequence[GraphQLError] = (),
        extra: dict[str, Any] | None = None,
    ) -> None:
        kind = ErrorKind.INVALID_INPUT if parsed else ErrorKind.MALFORMED
        super().__init__(kind, detail, field=field, extra=extra)
        self.code = code
        self.status = status
        self.parsed = parsed
        self.told = tuple(told)


def too_much(code: str, detail: str, *, parsed: bool = True, **extra: Any) -> Refusal:
    """A document beyond a limit; ``extra`` tells the limit to programs."""
    return Refusal(code, detail, parsed=parsed, extra=extra)


def status_of(error: Exception, *, graphql_json: bool) -> int:
    """The HTTP status of a request of one operation that this exception ends. ``graphql_json``: its media type."""
    if isinstance(error, Refusal):
        return 200 if error.parsed and not graphql_json else error.status
    return TABLE[error.kind].status if isinstance(error, PlatformError) else 500


def entries(error: PlatformError, *, request_id: str) -> list[dict[str, Any]]:
    """The members of ``errors`` for an exception that ends an operation."""
    if isinstance(error, Refusal) and error.told:
        return [_told(one, error.code, request_id) for one in error.told[:MAX_TOLD]]
    return [_entry(error.detail, extensions(error, request_id=request_id))]


def of_field(error: GraphQLError, *, request_id: str) -> dict[str, Any]:
    """An error of one field, with its path. An unexpected one is logged and told without its inside."""
    original = error.original_error
    code = (error.extensions or {}).get("code")
    if original is None and code:
        members = {"code": code, "type": problems.type_of(ErrorKind.INVALID_INPUT), "requestId": request_id}
        entry = _entry(error.message, members)
    else:
        known = _known(original or error)
        entry = _entry(known.detail, extensions(known, request_id=request_id))
    if error.locations:
        entry["locations"] = [location.formatted for location in error.locations]
    if error.path:
        entry["path"] = error.path
    return entry


def extensions(error: PlatformError, *, request_id: str) -> dict[str, Any]:
    """What programs need to know of an error; further members of the problem have the names they have in REST."""
    code = error.code if isinstance(error, Refusal) else TABLE[error.kind].code
    members: dict[str, Any] = {"code": code, "type": problems.type_of(error.kind)}
    if error.field is not None:
        members["field"] = error.field
    wait = problems.headers(error).get("Retry-After")
    if wait is not None:
        members["retryAfter"] = int(wait)
    members["requestId"] = request_id
    for name, value in error.extra.items():
        members[_camel(name)] = value
    return members


def retry_after(body: Any) -> dict[str, str]:
    """The header that says when everything an answer, or a list of them, refused may be asked again; none where nothing was."""
    answers = body if isinstance(body, list) else [body]
    waits = [
        error["extensions"]["retryAfter"]
        for answer in answers
        for error in answer.get("errors", ())
        if "retryAfter" in error["extensions"]
    ]
    return {"Retry-After": str(max(waits))} if waits else {}


def _told(error: GraphQLError, code: str, request_id: str) -> dict[str, Any]:
    kind = ErrorKind.MALFORMED if code == PARSE_FAILED else ErrorKind.INVALID_INPUT
    entry = _entry(error.message, {"code": code, "type": problems.type_of(kind), "requestId": request_id})
    if error.locations:
        entry["locations"] = [location.formatted for location in error.locations[:MAX_TOLD]]
    return entry


def _entry(message: str, members: dict[str, Any]) -> dict[str, Any]:
    _refusals.labels(members["code"]).inc()
    return {"message": message[:2000], "extensions": members}


def _known(error: Exception) -> PlatformError:
    try:
        raise error
    except Exception as raised:  # noqa: BLE001 - raised anew so that the log has its traceback
        return problems.kind_of(raised)


def _camel(name: str) -> str:
    first, *others = name.replace("-", "_").split("_")
    return first + "".join(part.capitalize() for part in others)
