"""What every log line and answer of a call carries, whatever its protocol: the request id and W3C trace context."""

import logging
import re
from contextvars import ContextVar

from mlplatform.lib import randomness

_current: ContextVar[str] = ContextVar("request_id", default="-")
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_NO_TRACE = "0" * 32
_NO_SPAN = "0" * 16


class RequestIdFilter(logging.Filter):
    """Puts the id of the request that is being answered on each log record."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = _current.get()
        return True


def enter_request(request_id: str) -> None:
    """Name the request on every log line of this thread from now on.

    Not undone at the end: Django logs refused and failed requests when the middleware has returned already, and the
    thread's next request sets its own.
    """
    _current.set(request_id)


def request_id() -> str | None:
    """The id of the request that is being answered; None outside of one."""
    current = _current.get()
    return None if current == "-" else current


def child_traceparent(offered: str | None) -> str:
    """This service's span of the caller's trace (W3C Trace Context), or of a new trace if none or a broken one came."""
    match = _TRACEPARENT.fullmatch(offered or "")
    if match and match[1] != _NO_TRACE and match[2] != _NO_SPAN:
        return f"00-{match[1]}-{randomness.block()[:8].hex()}-{match[3]}"
    return f"00-{randomness.block().hex()}-{randomness.block()[:8].hex()}-00"
