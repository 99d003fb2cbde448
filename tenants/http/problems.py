"""Errors as RFC 9457 problems: the REST face's one complete table from kind to wire."""

import logging
import math
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
import orjson
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.db import Error as DatabaseError
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from msgspec import Meta
from prometheus_client import Counter
from rest_framework import exceptions
from rest_framework.response import Response

from mlplatform.lib.errors import ErrorKind, PlatformError, unavailable
from mlplatform.lib.request_body import UnknownCoding
from tenants.http.answers import UNSET, Absent, Address, Answer, Moment
from tenants.http.json_schemas import one_of

logger = logging.getLogger(__name__)

_sql_failures: Final = Counter("mlplatform_sql_failures_total", "API calls that failed because of the database.")

CONTENT_TYPE: Final = "application/problem+json"
_OWN: Final = "/docs/problems#"
_IANA: Final = "https://iana.org/assignments/http-problem-types#"


@dataclass(frozen=True, slots=True)
class Wire:
    """How REST says one kind of error. ``meaning`` and ``advice`` stand on the public page of problems."""

    status: int
    title: str
    meaning: str
    advice: str
    type: str = ""


TABLE: Final[dict[ErrorKind, Wire]] = {
    ErrorKind.MALFORMED: Wire(
        400,
        "Malformed request",
        "The request cannot be read, or contradicts itself.",
        "Correct what the detail names; sending the same call again will fail again.",
    ),
    ErrorKind.UNSUPPORTED_API_VERSION: Wire(
        400,
        "Unsupported API version",
        "The named API version does not exist.",
        "Name one of those in the member supported, or none.",
    ),
    ErrorKind.UNAUTHENTICATED: Wire(
        401,
        "Not authenticated",
        "The API key is missing, mistyped, unknown, expired or revoked.",
        "Check that the whole key arrives in the header Authorization: Bearer …; if it was revoked, use another.",
    ),
    ErrorKind.FORBIDDEN: Wire(
        403,
        "Not allowed",
        "The key or its tenant may not do this.",
        "The detail says what is missing: a scope of the key, an address it may be used from, a plan. An admin of your "
        "tenant can change it.",
    ),
    ErrorKind.NOT_FOUND: Wire(
        404,
        "Not found",
        "It does not exist, or not for this key.",
        "Check the name; GET /v2/models lists the models that the key may use.",
    ),
    ErrorKind.METHOD_NOT_ALLOWED: Wire(
        405,
        "Method not allowed",
        "The address exists, but not for this HTTP method.",
        "Use a method of the Allow header.",
    ),
    ErrorKind.CONFLICT: Wire(
        409,
        "Conflict",
        "The request does not fit the present state.",
        "Look at the present state, then decide anew.",
    ),
    ErrorKind.GONE: Wire(410, "Gone", "It existed and was withdrawn.", "Move to the successor that the answer names."),
    ErrorKind.PAYLOAD_TOO_LARGE: Wire(
        413, "Body too large", "The body is larger than the service takes.", "Split the call into smaller ones."
    ),
    ErrorKind.UNSUPPORTED_MEDIA_TYPE: Wire(
        415,
        "Unsupported media type",
        "The body is of a media type, or compressed in a way, that this address does not take.",
        "Send JSON with the header Content-Type: application/json, as it is or with Content-Encoding: gzip.",
    ),
    ErrorKind.INVALID_INPUT: Wire(
        422,
        "Invalid input",
        "A field has a value that cannot be used; the detail says why.",
        "Correct the part of the call that the member field names.",
    ),
    ErrorKind.UNPROCESSABLE: Wire(
        422,
        "The model failed on this input",
        "The input is well formed, but the model fails on it each time; nothing was charged.",
        "Change the input. Tell us the request id if you think that the model should know it.",
    ),
    ErrorKind.CHARGE_TOO_LARGE: Wire(
        422,
        "Call larger than its limit",
        "The call needs more than a limit can ever let pass.",
        "Split the call into smaller ones; waiting does not help.",
    ),
    ErrorKind.QUOTA_EXCEEDED: Wire(
        429,
        "Quota exceeded",
        "A limit is used up; nothing was charged.",
        "Send the call again after Retry-After seconds. GET /v2/limits/explain/{request_id} tells which limit refused and "
        "who set it.",
        f"{_IANA}quota-exceeded",
    ),
    ErrorKind.TOO_MANY_ATTEMPTS: Wire(
        429,
        "Too many attempts",
        "Too many wrong keys or passwords came from this address, or too many packages from this tenant.",
        "Correct the key if it is wrong, and wait for Retry-After seconds.",
    ),
    ErrorKind.INTERNAL: Wire(
        500,
        "Internal error",
        "A mistake of the service; it was logged with the request id.",
        "Tell us the request id. A prediction may be sent again.",
    ),
    ErrorKind.OVERLOADED: Wire(
        503,
        "Temporarily overloaded",
        "More work waits than can be done soon; nothing was charged.",
        "Send the call again after Retry-After seconds, later each time.",
        f"{_IANA}temporary-reduced-capacity",
    ),
    ErrorKind.UNAVAILABLE: Wire(
        503,
        "Temporarily unavailable",
        "A part of the service is away; nothing was charged.",
        "Send the call again after Retry-After seconds, later each time.",
        f"{_IANA}temporary-reduced-capacity",
    ),
    ErrorKind.BROWNOUT: Wire(
        503,
        "Brownout of an ending version",
        "This version will end soon, and a planned share of its calls fails for a while, so that remaining calls are "
        "found before the day. Nothing was charged.",
        "Move to the successor that the answer names; its guide tells how. Until Retry-After has passed, calls may fail.",
    ),
    ErrorKind.TIMEOUT: Wire(
        503,
        "No answer in time",
        "The model did not answer in time; nothing was charged.",
        "Send the call again after Retry-After seconds.",
        f"{_IANA}temporary-reduced-capacity",
    ),
    ErrorKind.NOT_CACHED: Wire(
        504,
        "No cached answer",
        "The call asked for a cached answer only, and there is none; nothing was charged.",
        "Send the call without Cache-Control: only-if-cached, and it will be computed.",
    ),
}

_DRF_KINDS: Final[dict[type[exceptions.APIException], ErrorKind]] = {
    exceptions.ParseError: ErrorKind.MALFORMED,
    exceptions.UnsupportedMediaType: ErrorKind.UNSUPPORTED_MEDIA_TYPE,
    exceptions.MethodNotAllowed: ErrorKind.METHOD_NOT_ALLOWED,
    exceptions.NotFound: ErrorKind.NOT_FOUND,
}


def type_of(kind: ErrorKind) -> str:
    """The problem type: registered with IANA where there is one, else a place on our page of problems."""
    return TABLE[kind].type or f"{_OWN}{kind.value}"


class Problem(Answer, frozen=True):
    """An error as RFC 9457 (application/problem+json) writes it. `/docs/problems` lists every type."""

    type: Annotated[
        str,
        one_of(sorted({type_of(kind) for kind in TABLE})),
        Meta(
            description="Which kind of problem; decide by this, not by the texts.",
            extra_json_schema={"format": "uri-reference"},
        ),
    ]
    title: Annotated[str, Meta(description="The kind in words; the same for every problem of a type.")]
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: Annotated[str, Meta(description="What is wrong with this call, and what to do.")]
    request_id: Annotated[str, Meta(description="Name it when you ask us about this call.")]
    field: (
        Annotated[str, Meta(description="The part of the call that is wrong, such as `requests[3].input`.")] | Absent
    ) = UNSET
    violated_policies: (
        Annotated[list[str], Meta(description="Names of the limits that refused, as in the RateLimit header.")] | Absent
    ) = msgspec.field(name="violated-policies", default=UNSET)
    supported: (
        Annotated[list[str], Meta(description="API versions that exist, when the named one does not.")] | Absent
    ) = UNSET
    required_scope: Annotated[str, Meta(description="The scope that the key lacks.")] | Absent = UNSET
    successor: Annotated[str, Meta(description="What to use in place of what ended or has its brownout.")] | Absent = (
        UNSET
    )
    guide: Annotated[Address, Meta(description="The page that tells how to migrate.")] | Absent = UNSET
    sunset: Annotated[Moment, Meta(description="When it ends, or ended, for you.")] | Absent = UNSET
    tokens: Annotated[int, Meta(ge=1, description="Of a text that is longer than the model reads.")] | Absent = UNSET
    max_tokens: Annotated[int, Meta(ge=1, description="How many tokens the model reads.")] | Absent = UNSET


def body(error: PlatformError, *, request_id: str) -> dict[str, Any]:
    """The members of the problem object: those of every problem, and those that the error has beyond them."""
    wire = TABLE[error.kind]
    problem = Problem(
        type=type_of(error.kind),
        title=wire.title,
        status=wire.status,
        detail=error.detail,
        request_id=request_id,
        field=UNSET if error.field is None else error.field,
    )
    members: dict[str, Any] = msgspec.to_builtins(problem)
    return members | error.extra


def headers(error: PlatformError) -> dict[str, str]:
    """Retry-After in whole seconds on every 429 and 503, what 401 must carry, and which compressions 415 would have taken."""
    wire = TABLE[error.kind]
    found = {}
    if wire.status in {429, 503}:
        found["Retry-After"] = str(max(1, math.ceil(error.retry_after_s or 0)))
    if isinstance(error, UnknownCoding):
        found["Accept-Encoding"] = ", ".join(error.taken)
    if wire.status == 401:
        found["WWW-Authenticate"] = 'Bearer realm="mlplatform"'
    return found


def response(error: PlatformError, *, request_id: str) -> Response:
    """A problem as the answer of an API view."""
    answer = Response(body(error, request_id=request_id), status=TABLE[error.kind].status, content_type=CONTENT_TYPE)
    for name, value in headers(error).items():
        answer.headers[name] = value
    return answer


def plain_response(error: PlatformError, request: HttpRequest) -> HttpResponse:
    """A problem where no API view is at work: unknown addresses and mistakes of the service itself."""
    request_id = getattr(request, "request_id", "-")
    return HttpResponse(
        orjson.dumps(body(error, request_id=request_id)),
        status=TABLE[error.kind].status,
        content_type=CONTENT_TYPE,
        headers=headers(error),
    )


def kind_of(error: Exception) -> PlatformError:
    """Any exception as a PlatformError; an unexpected one is logged and told without its inside."""
    if isinstance(error, PlatformError):
        return error
    if isinstance(error, RequestDataTooBig):
        return PlatformError(ErrorKind.PAYLOAD_TOO_LARGE, "The body is larger than the service takes; split the call.")
    for cls, kind in _DRF_KINDS.items():
        if isinstance(error, cls):
            return PlatformError(kind, str(error.detail))
    if isinstance(error, SuspiciousOperation | UnreadablePostError):
        return PlatformError(ErrorKind.MALFORMED, "The request cannot be read: it is cut off or has too many parts.")
    if isinstance(error, DatabaseError):
        _sql_failures.inc()
        logger.exception("the database failed")
        return unavailable("The database is away for a moment; nothing was charged.")
    logger.exception("an unexpected error")
    return PlatformError(ErrorKind.INTERNAL, "Something went wrong here; the request id helps us to find it.")


def exception_handler(error: Exception, context: dict[str, Any]) -> Response:
    """REST framework's hook: every exception of an API view becomes a problem."""
    request = context["request"]
    return response(kind_of(error), request_id=getattr(request, "request_id", "-"))
