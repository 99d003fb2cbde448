"""Calls of several inputs for one model whose protocol has no partial answer: every input is answered, or the call fails.

Each input is looked at before any is admitted, so a bad one costs nothing. What can still fail for one input alone is
the model itself; then the call fails and names the input. The others were computed, kept in the cache and charged by
then, but the fee of the call is not; to send the call again costs what cached answers cost. A call that the service could
not answer, because a part of it is away or its time is over, is charged nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from billing.admission import Decision
from billing.models import Operation
from inference.calls import deprecated_use
from inference.engine import preparing
from inference.engine.predict import predict, predict_many
from inference.inputs import truncation
from inference.types import CallContext, ModelRef, PredictRequest, PredictResult
from mlplatform.lib.errors import PlatformError
from tenants import scopes
from tenants.authentication import Caller
from tenants.deprecations.rules import Deprecation


@dataclass(frozen=True, slots=True)
class WholeAnswer:
    """A result for each input in order, the units of all, and the limits after the call."""

    results: tuple[PredictResult, ...]
    units: int
    decision: Decision | None

    @property
    def cached(self) -> bool:
        """Whether nothing had to be computed."""
        return all(result.cached for result in self.results)

    @property
    def deprecations(self) -> tuple[Deprecation, ...]:
        """What ends of the model version that the call pinned."""
        return tuple(dict.fromkeys(one.deprecation for one in self.results if one.deprecation is not None))

    def truncation_headers(self) -> dict[str, str]:
        """``X-Input-Truncated``, where an input was cut."""
        return truncation.told(result.truncated for result in self.results)

    def cache_headers(self) -> dict[str, str]:
        """``X-Cache`` and ``Age``, for answers of one result; of several, each may have its own."""
        if len(self.results) > 1:
            return {}
        result = self.results[0]
        return {"X-Cache": "HIT", "Age": str(result.age_s)} if result.cached else {"X-Cache": "MISS"}


def operation(inputs: int) -> Operation:
    """One input is a prediction, several in one call are a batch, with its scope and its fee."""
    return Operation.PREDICT if inputs == 1 else Operation.BATCH


def resolve(caller: Caller, model: str, *, request_id: str) -> ModelRef:
    """The version that answers ``name``, ``name@version`` or, where it is empty, for the tenant's default model.

    Raises FORBIDDEN for a key without any scope to predict, before it tells whether a model exists.
    """
    if Operation.BATCH.value not in caller.scopes:
        scopes.require(caller.scopes, Operation.PREDICT.value)
    ref, _ = preparing.resolve(caller, PredictRequest(model=model, input=None), request_id)
    return ref


def predict_whole(caller: Caller, requests: Sequence[PredictRequest], context: CallContext) -> WholeAnswer:
    """Answer every request, all of one model. Raises the first problem, which names its input."""
    alone = len(requests) == 1
    answer = predict(caller, requests[0], context) if alone else predict_many(caller, requests, context, whole=True)
    results = []
    for request, result in zip(requests, answer.results, strict=True):
        if isinstance(result, PlatformError):
            raise _of_input(result, request, answer.units)
        results.append(result)
    whole = WholeAnswer(tuple(results), answer.units, answer.decision)
    deprecated_use.sample(caller, requests, whole.results, client=context.client)
    return whole


def deprecations(caller: Caller, model: str, *, request_id: str) -> tuple[Deprecation, ...]:
    """The deprecation of the version that a refused call pinned, for the headers of its refusal."""
    return deprecated_use.deprecations_of(caller, [PredictRequest(model=model, input=None)], call_id=request_id)


def _of_input(problem: PlatformError, request: PredictRequest, units: int) -> PlatformError:
    """The call's problem: that of one input, and what the others cost, which their own results can no longer say."""
    others = f" The other inputs of this call were charged {units:,} units and are kept in the cache." if units else ""
    return PlatformError(
        problem.kind,
        f"{problem.detail}{others}",
        field=problem.field or f"{request.path}{request.field}",
        retry_after_s=problem.retry_after_s,
        extra=problem.extra,
    )
