"""What can go wrong, said once for every face.

The domain raises :class:`PlatformError` with an :class:`ErrorKind`; each face (REST, GraphQL, gRPC) owns one
complete table from kind to wire and no status code is written anywhere else.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class ErrorKind(StrEnum):
    """The complete list of refusals and failures that a caller can meet."""

    INVALID_INPUT = "invalid-input"
    MALFORMED = "malformed"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not-found"
    CONFLICT = "conflict"
    GONE = "gone"
    BROWNOUT = "brownout"
    PAYLOAD_TOO_LARGE = "payload-too-large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    UNSUPPORTED_API_VERSION = "unsupported-api-version"
    QUOTA_EXCEEDED = "quota-exceeded"
    UNPROCESSABLE = "unprocessable"
    CHARGE_TOO_LARGE = "charge-too-large"
    TOO_MANY_ATTEMPTS = "too-many-attempts"
    OVERLOADED = "overloaded"
    UNAVAILABLE = "unavailable"
    TIMEOUT = "timeout"
    NOT_CACHED = "not-cached"
    INTERNAL = "internal"


class PlatformError(Exception):
    """A refusal or failure with everything a face needs to render it.

    ``detail`` says to a person what is wrong and what to do; ``field`` is the path of the offending input such as
    ``requests[3].input``; ``retry_after_s`` is set where trying again later can succeed; ``extra`` holds further
    members of the problem body and never a secret.
    """

    def __init__(
        self,
        kind: ErrorKind,
        detail: str,
        *,
        field: str | None = None,
        retry_after_s: float | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.field = field
        self.retry_after_s = retry_after_s
        self.extra = dict(extra or {})

    def copy(self) -> "PlatformError":
        """The same problem for another call, which may name its own field and request id in it."""
        return PlatformError(
            self.kind, self.detail, field=self.field, retry_after_s=self.retry_after_s, extra=self.extra
        )


def invalid(field: str, detail: str) -> PlatformError:
    """An input error that names its field."""
    return PlatformError(ErrorKind.INVALID_INPUT, detail, field=field)


def unavailable(detail: str, *, retry_after_s: float = 1.0) -> PlatformError:
    """A dependency is down; nothing was done or charged."""
    return PlatformError(ErrorKind.UNAVAILABLE, detail, retry_after_s=retry_after_s)
