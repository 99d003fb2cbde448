"""What callers are told in the end: their scores, or a problem that says what was and was not done."""

from collections.abc import Sequence

from inference.batching import metrics
from inference.batching.work import WorkItem
from mlplatform.lib.errors import ErrorKind, PlatformError, unavailable


def give(items: Sequence[WorkItem], results: Sequence[bytes | None]) -> None:
    """Each input its scores, in the same order; None where the model failed on it."""
    for item, scores in zip(items, results, strict=True):
        if scores is None:
            # Why stands in the worker's log; the words of a library are not for customers.
            item.fail(_unprocessable())
        else:
            item.succeed(scores)


def fail(items: Sequence[WorkItem], reason: str) -> None:
    """No worker answered their batch; the reason is for operators."""
    metrics.failed.labels(reason).inc()
    for item in items:
        item.fail(unavailable("No worker could compute this prediction; nothing was charged. Please try again."))


def stopping() -> PlatformError:
    """This process computes no more."""
    return unavailable("The service is stopping; please try again.")


def overloaded() -> PlatformError:
    """The queue is full."""
    return PlatformError(
        ErrorKind.OVERLOADED,
        "More predictions wait than can be computed soon; nothing was charged.",
        retry_after_s=1.0,
    )


def _unprocessable() -> PlatformError:
    return PlatformError(
        ErrorKind.UNPROCESSABLE,
        "The model failed on this input, and would fail again. Nothing was charged for it; other inputs are not concerned.",
    )
