"""All predictions of one operation: begun together, so that they run in parallel, and finished together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from billing.models import Operation
from inference.calls import context as call_context
from inference.calls import deprecated_use
from inference.engine import predict as prediction
from inference.engine.predict import Answer, Started
from inference.types import CallContext, PredictRequest, PredictResult
from mlplatform.lib.deferred import Loader
from mlplatform.lib.errors import PlatformError
from tenants.graphql.call import GraphQLCall
from tenants.guards import StaleCaller

API_VERSION = "graphql"


@dataclass(frozen=True, eq=False, slots=True)
class SingleCall:
    """A ``predict`` field. Two of them are never the same: each is a call of its own."""

    request: PredictRequest


@dataclass(frozen=True, eq=False, slots=True)
class BatchCall:
    """A ``batchPredict`` field: one call of many inputs."""

    requests: tuple[PredictRequest, ...]
    call_id: str


Result = PredictResult | PlatformError


class PredictionLoader(Loader[SingleCall | BatchCall, list[Result]]):
    """Single calls are admitted in one round trip, each charged by itself; a batch is admitted at once.

    Gives the results of a call in order. What goes wrong with a call as a whole is the exception of its key alone, whatever
    it is: the others hold places and units, which only finishing them gives back.
    """

    def fetch(
        self, keys: Sequence[SingleCall | BatchCall]
    ) -> Mapping[SingleCall | BatchCall, list[Result] | Exception]:
        values: dict[SingleCall | BatchCall, list[Result] | Exception] = {}
        groups: list[tuple[list[SingleCall | BatchCall], list[PredictRequest], CallContext, bool]] = []
        singles = [key for key in keys if isinstance(key, SingleCall)]
        if singles:
            context = context_of(self.call, Operation.PREDICT)
            groups.append(([*singles], [key.request for key in singles], context, True))
        for key in keys:
            if isinstance(key, BatchCall):
                context = replace(context_of(self.call, Operation.BATCH), request_id=key.call_id)
                groups.append(([key], [*key.requests], context, False))
        started: list[tuple[list[SingleCall | BatchCall], list[PredictRequest], Started]] = []
        for members, requests, context, separate in groups:
            try:
                begin = prediction.begin_each if separate else prediction.begin
                begun = begin(self.call.key, requests, context)
            except (PlatformError, StaleCaller) as error:
                note_deprecations(self.call, requests)
                values |= dict.fromkeys(members, error)
            except Exception as error:  # noqa: BLE001 - handed on; those that were begun must be finished
                values |= dict.fromkeys(members, error)
            else:
                started.append((members, requests, begun))
        for members, requests, begun in started:
            values |= self._finish(members, requests, begun)
        return values

    def _finish(
        self, members: list[SingleCall | BatchCall], requests: list[PredictRequest], begun: Started
    ) -> Mapping[SingleCall | BatchCall, list[Result] | Exception]:
        try:
            answer = begun.finish()
        except Exception as error:  # noqa: BLE001 - handed on; the others must be finished too
            return dict.fromkeys(members, error)
        note(self.call, answer, requests)
        if isinstance(members[0], BatchCall):
            return {members[0]: list(answer.results)}
        return {member: [result] for member, result in zip(members, answer.results, strict=True)}


def context_of(call: GraphQLCall, operation: Operation) -> CallContext:
    """What is true of every prediction of an operation."""
    return CallContext(
        request_id=call.request_id,
        operation=operation.value,
        api_version=API_VERSION,
        client=call.client,
        timeout_s=call.timeout_s,
        cache=call_context.cache_policy(call.cache_control),
        cancellation=call.cancellation,
    )


def note(call: GraphQLCall, answer: Answer, requests: Sequence[PredictRequest]) -> None:
    """Remember what was charged and what is deprecated, also of what was refused, and offer the call to the samples."""
    call.note(answer)
    deprecated_use.sample(call.key, requests, answer.results, client=call.client)
    if any(isinstance(result, PlatformError) for result in answer.results):
        note_deprecations(call, requests)


def note_deprecations(call: GraphQLCall, requests: Sequence[PredictRequest]) -> None:
    """Remember which of the pinned model versions are deprecated."""
    for deprecation in deprecated_use.deprecations_of(call.key, requests, call_id=call.request_id):
        if deprecation not in call.deprecations:
            call.deprecations.append(deprecation)
