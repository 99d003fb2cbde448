"""The one entry point of every face that calls from a thread: from a parsed call to its answers.

The calls travel in waves on the event loop (``started.py``, ``waves.py``).
"""

from collections.abc import Sequence

from inference.engine import started
from inference.engine.answers import Answer, single
from inference.engine.started import Started
from inference.types import CallContext, PredictRequest
from tenants.authentication import Caller

__all__ = ["Answer", "Started", "begin", "begin_each", "predict", "predict_each", "predict_many", "single"]


def predict(caller: Caller, request: PredictRequest, context: CallContext) -> Answer:
    """One input. Raises its problem; what was not answered is not charged."""
    answer = predict_each(caller, (request,), context)
    single(answer)
    return answer


def predict_many(
    caller: Caller, requests: Sequence[PredictRequest], context: CallContext, *, whole: bool = False
) -> Answer:
    """Many inputs, of several models if need be, admitted at once; each gets its result or its problem.

    With ``whole``, for protocols without partial answers, the problem of an input is raised before anything is admitted,
    and the fee of the call is paid only when every input was answered; nothing is when it failed through no fault of its
    inputs. Raises ``PlatformError`` for what concerns the call as a whole (scope, limits, a dependency that is away) and
    ``StaleCaller`` when the caller must be authenticated anew.
    """
    return started.one(caller, requests, context, whole=whole).finish()


def predict_each(caller: Caller, requests: Sequence[PredictRequest], context: CallContext) -> Answer:
    """Calls of one input each, which came together. A result or a problem for each, also for what concerns a call as a whole.

    Raises FORBIDDEN for a scope that is lacking, and ``StaleCaller`` when the caller must be authenticated anew; then nothing was
    begun.
    """
    return started.each(caller, requests, context).finish()


def begin(caller: Caller, requests: Sequence[PredictRequest], context: CallContext, *, whole: bool = False) -> Started:
    """As :func:`predict_many`, but return when the call is admitted and its inputs are on their way. Raises as that does."""
    begun = started.one(caller, requests, context, whole=whole)
    begun.wait_for_admission()
    return begun


def begin_each(caller: Caller, requests: Sequence[PredictRequest], context: CallContext) -> Started:
    """As :func:`predict_each`, but return when it is known which are admitted, and their inputs are on their way."""
    begun = started.each(caller, requests, context)
    begun.wait_for_admission()
    return begun
