"""What an HTTP call says in headers and means for its prediction. Bodies are read by the faces."""

import re
from typing import Final

from django.conf import settings

from billing.models import Operation
from inference.calls.cache_control import policy as cache_policy
from inference.types import CallContext
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.http.call import RestCall

__all__ = ["cache_policy", "context", "timeout_s"]

_SECONDS: Final = re.compile(r"\d{1,6}(\.\d{1,6})?", re.ASCII)
_WAIT: Final = re.compile(
    r"(?:^|[,;])\s*wait\s*=\s*\"?(?P<seconds>[1-9]\d{0,5})\"?\s*(?:$|[,;])", re.ASCII | re.IGNORECASE
)


def context(call: RestCall, operation: Operation, api_version: str) -> CallContext:
    """What is true of the call as a whole; ``api_version`` is REST's, or the name of the protocol."""
    return CallContext(
        request_id=call.request_id,
        operation=operation.value,
        api_version=api_version,
        client=call.header("USER_AGENT"),
        timeout_s=timeout_s(call.header("X_REQUEST_TIMEOUT"), call.header("PREFER")),
        cache=cache_policy(call.header("CACHE_CONTROL")),
    )


def timeout_s(request_timeout: str, prefer: str) -> float:
    """How long the call waits for its answer: the least of ``X-Request-Timeout`` (seconds), ``Prefer: wait`` (RFC 7240) and
    ``PREDICT_TIMEOUT_S``.

    A preference that cannot be read is passed over, as its RFC has it. Raises MALFORMED for a time-out that is none.
    """
    longest: float = settings.PREDICT_TIMEOUT_S
    if request_timeout:
        if not _SECONDS.fullmatch(request_timeout) or float(request_timeout) <= 0:
            raise PlatformError(
                ErrorKind.MALFORMED,
                "X-Request-Timeout is a number of seconds above 0, such as 2 or 0.5.",
                field="X-Request-Timeout",
            )
        longest = min(longest, float(request_timeout))
    wait = _WAIT.search(prefer) if prefer else None
    return min(longest, float(wait["seconds"])) if wait else longest
