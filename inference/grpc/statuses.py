"""Errors as gRPC statuses with google.rpc details: this face's one complete table from kind to wire."""

import math
from collections.abc import Mapping
from typing import Any, Final

import grpc
from django.conf import settings
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from billing.charging import Refused
from inference.grpc.exchange import Exchange
from inference.grpc.generated import ml_inference_pb2
from inference.inputs import truncation
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.deprecations.rules import Ended

TABLE: Final[dict[ErrorKind, grpc.StatusCode]] = {
    ErrorKind.MALFORMED: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorKind.INVALID_INPUT: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorKind.UNPROCESSABLE: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorKind.CHARGE_TOO_LARGE: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorKind.UNSUPPORTED_API_VERSION: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorKind.UNSUPPORTED_MEDIA_TYPE: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorKind.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    ErrorKind.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    ErrorKind.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    ErrorKind.METHOD_NOT_ALLOWED: grpc.StatusCode.UNIMPLEMENTED,
    ErrorKind.CONFLICT: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorKind.NOT_CACHED: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorKind.GONE: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorKind.PAYLOAD_TOO_LARGE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorKind.QUOTA_EXCEEDED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorKind.TOO_MANY_ATTEMPTS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorKind.OVERLOADED: grpc.StatusCode.UNAVAILABLE,
    ErrorKind.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    ErrorKind.BROWNOUT: grpc.StatusCode.UNAVAILABLE,
    ErrorKind.TIMEOUT: grpc.StatusCode.DEADLINE_EXCEEDED,
    ErrorKind.INTERNAL: grpc.StatusCode.INTERNAL,
}

DOMAIN: Final = "mlplatform"
"""Of google.rpc.ErrorInfo: in whose words ``reason`` is."""

DETAILS_KEY: Final = "grpc-status-details-bin"
"""Where clients of all languages look for a google.rpc.Status."""

# A status travels in headers, of which clients take 8 KB by default.
_LONGEST_MESSAGE: Final = 600
_LONGEST_FACT: Final = 200
_WAITS: Final = {ErrorKind.QUOTA_EXCEEDED, ErrorKind.TOO_MANY_ATTEMPTS, ErrorKind.TIMEOUT}
_OUR_FIELDS: Final = {"model": "model_name", "parameters.top_k": "top_k"}


def status_of(error: PlatformError, *, request_id: str) -> status_pb2.Status:
    """The status of a call, with an ErrorInfo always and further details where there is something to say."""
    message = _message(error)
    info = error_details_pb2.ErrorInfo(
        reason=error.kind.name,
        domain=DOMAIN,
        metadata={"request_id": request_id, **facts(error)},
    )
    details: list[Message] = [info]
    if error.field is not None:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=_cut(field_of(error), _LONGEST_FACT), description=message, reason=error.kind.name
        )
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    retry_after_s = retry_after(error)
    if retry_after_s:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(math.ceil(retry_after_s * 1e9))
        details.append(retry)
    if isinstance(error, Refused):
        details.append(_quota_failure(error))
    if isinstance(error, Ended):
        guide = f"{settings.BASE_URL}{error.deprecation.guide}"
        details.append(
            error_details_pb2.Help(
                links=[error_details_pb2.Help.Link(description=f"Move to {error.deprecation.successor}", url=guide)]
            )
        )
    return status_pb2.Status(
        code=TABLE[error.kind].value[0], message=message, details=[_packed(one) for one in details]
    )


def reason_of(exchange: Exchange) -> str:
    """The kind of error that ended the call, in capitals; empty where it ended without a status of ours."""
    for name, value in exchange.trailing_metadata():
        if name == DETAILS_KEY:
            info = error_details_pb2.ErrorInfo()
            status_pb2.Status.FromString(value).details[0].Unpack(info)
            return str(info.reason)
    return ""


def item_status(error: PlatformError) -> ml_inference_pb2.ItemStatus:
    """The same for one input of a batch or stream."""
    return ml_inference_pb2.ItemStatus(
        code=TABLE[error.kind].value[0],
        message=_message(error),
        reason=error.kind.name,
        field=_cut(field_of(error), _LONGEST_FACT) if error.field else "",
        retry_after_s=retry_after(error),
        details=facts(error),
    )


def _message(error: PlatformError) -> str:
    return _cut(truncation.in_words(error, "truncate: true"), _LONGEST_MESSAGE)


def retry_after(error: PlatformError) -> float:
    """Seconds after which it is worth trying again; 0 where waiting does not help."""
    if TABLE[error.kind] is grpc.StatusCode.UNAVAILABLE or error.kind in _WAITS:
        return max(error.retry_after_s or 0.0, 0.001) if error.retry_after_s else 1.0
    return 0.0


def field_of(error: PlatformError) -> str:
    """The field in the words of this face: the domain says ``model``, our messages have ``model_name``."""
    path, dot, last = (error.field or "").rpartition("].")
    return f"{path}{dot}{_OUR_FIELDS.get(last, last)}"


def facts(error: PlatformError) -> dict[str, str]:
    """The further members of a problem as text."""
    return {name: _cut(_text(value), _LONGEST_FACT) for name, value in _extra(error).items()}


def _extra(error: PlatformError) -> Mapping[str, Any]:
    return {name.replace("-", "_"): value for name, value in error.extra.items()}


def _text(value: Any) -> str:
    return ",".join(str(item) for item in value) if isinstance(value, list | tuple) else str(value)


def _quota_failure(error: Refused) -> error_details_pb2.QuotaFailure:
    violations = [
        error_details_pb2.QuotaFailure.Violation(
            subject=state.limit.name,
            description=f"{max(0, state.remaining):,} of {state.limit.amount:,} {state.limit.counts} left, set by "
            f"{state.limit.source}",
        )
        for state in error.decision.states
        if state.refused
    ]
    return error_details_pb2.QuotaFailure(violations=violations[:8])


def _packed(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
