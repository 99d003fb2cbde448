"""What callers are told in the end: their scores, or a problem that says what was and was not done."""

from collections.abc import Sequence

from inference.batching import metrics
from inference.batching.messages import BatchReply
from inference.batching.work import WorkItem
from mlplatform.lib import clock
from mlplatform.lib.errors import ErrorKind, PlatformError, unavailable


def give(items: Sequence[WorkItem], reply: BatchReply) -> None:
    """Each input its scores, in the same order, or why it has none: it is too long, or the model failed on it."""
    refuse(items, reply)
    for place, (item, scores) in enumerate(zip(items, reply.results, strict=True)):
        if scores is not None:
            item.succeed(scores, reply.lengths.get(place))
        else:
            # Why stands in the worker's log; the words of a library are not for customers.
            item.fail(_unprocessable())


def refuse(items: Sequence[WorkItem], reply: BatchReply) -> None:
    """Those that are too long their refusals, which stand whatever became of the others."""
    for place, length in reply.refused.items():
        items[place].refuse(length)


def refuse_all(items: Sequence[WorkItem], reason: str) -> None:
    """The model may not be loaded, which is for the callers to mend."""
    for item in items:
        item.fail(PlatformError(ErrorKind.UNPROCESSABLE, f"{reason} Nothing was charged."))


def fail(items: Sequence[WorkItem], reason: str) -> None:
    """No worker answered their batch; the reason is for operators. A call whose time is over hears that."""
    metrics.failed.labels(reason).inc()
    now = clock.monotonic()
    for item in items:
        item.fail(_late() if item.deadline <= now else _lost())


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


def _late() -> PlatformError:
    return PlatformError(
        ErrorKind.TIMEOUT,
        "The model did not answer in time; nothing was charged. Please try again.",
        retry_after_s=1.0,
    )


def _lost() -> PlatformError:
    return unavailable("No worker could compute this prediction; nothing was charged. Please try again.")


def _unprocessable() -> PlatformError:
    return PlatformError(
        ErrorKind.UNPROCESSABLE,
        "The model failed on this input, and would fail again. Nothing was charged for it; other inputs are not concerned.",
    )
