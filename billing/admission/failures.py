"""What admission says, and counts, when Redis fails: closed, at once, never tried a second time."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import redis.exceptions as errors
from prometheus_client import Counter

from mlplatform.lib.errors import ErrorKind, PlatformError, unavailable
from mlplatform.lib.redis import FAILURES, REFUSED, may_be_done

logger = logging.getLogger(__name__)

FAILED: Final = Counter(
    "mlplatform_admission_failures_total",
    "Admissions, settlements and releases that Redis failed, by reason.",
    ["reason"],
)

_REASONS: Final[tuple[tuple[type[Exception], str], ...]] = (
    # The first match counts: several of these are kinds of ConnectionError or ResponseError.
    (errors.BusyLoadingError, "loading"),
    (errors.TimeoutError, "timeout"),
    (errors.ReadOnlyError, "readonly"),
    (errors.OutOfMemoryError, "out_of_memory"),
    (errors.AuthenticationError, "authentication"),
    (errors.NoPermissionError, "authentication"),
    (errors.ConnectionError, "connection"),
    (errors.ResponseError, "refused_by_server"),
    (OSError, "connection"),
)


def reason_of(error: Exception) -> str:
    """The label of the metric; a small fixed set."""
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), "other")


_WORDS: Final = "Usage cannot be checked at this moment; nothing was charged. Please try again."


class Unanswered(PlatformError):
    """The server may have done it. For the words to be true, what it may have taken must be voided."""

    def __init__(self) -> None:
        super().__init__(ErrorKind.UNAVAILABLE, _WORDS, retry_after_s=1.0)


def failed(reason: str, error: Exception | None = None) -> PlatformError:
    """Count and log a failure; returns the error to raise, :class:`Unanswered` where the server may have run the script."""
    FAILED.labels(reason).inc()
    # A script's own error arrives as a refusal by the server: that is our bug, so it is logged with its traceback.
    if reason in {"refused_by_server", "other"}:
        logger.error("admission failed: %s", error, exc_info=error)
    elif isinstance(error, REFUSED):
        logger.warning("admission failed (%s): Redis refuses the password: %s", reason, error)
    else:
        logger.warning("admission failed (%s): %s", reason, error)
    return Unanswered() if error is not None and may_be_done(error) else unavailable(_WORDS)


@contextmanager
def closed_on_failure() -> Iterator[None]:
    """Any failure of Redis inside becomes UNAVAILABLE with a retry after 1 s."""
    try:
        yield
    except FAILURES as error:
        raise failed(reason_of(error), error) from error
