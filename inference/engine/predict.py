"""The one entry point of every face: from a parsed call to its answers.

A call of one input travels in a wave on the event loop (``singles.py``, ``waves.py``), one of several on its caller's thread
(``many.py``).
"""

from collections.abc import Sequence

from inference.engine.answers import Answer, single
from inference.engine.many import Started, begin
from inference.engine.singles import Singles, begin_each, predict_each
from inference.types import CallContext, PredictRequest
from tenants.authentication import Caller

__all__ = ["Answer", "Singles", "Started", "begin", "begin_each", "predict", "predict_each", "predict_many", "single"]


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
    return begin(caller, requests, context, whole=whole).finish()
