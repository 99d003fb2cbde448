"""``POST …/predict`` and ``POST …/batch-predict``: the handlers, and the views that lead to them."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from django.conf import settings
from rest_framework.request import Request
from rest_framework.response import Response

from billing.admission import Decision
from billing.models import Operation
from billing.rest import keyed
from billing.rest.views import KeyedView
from inference import predict as prediction
from inference.lifecycle import samples
from inference.predict import Answer, single
from inference.representations import VERSIONS, parse, render, v2
from inference.rest import batches, parsing
from inference.types import CallContext, PredictRequest, PredictResult
from mlplatform.lib.errors import PlatformError
from tenants.authentication import Caller
from tenants.lifecycle import catalogue
from tenants.lifecycle.rules import Deprecation, Ended, Schedule
from tenants.rest.call import Reply, RestCall

_ALL: Final = tuple(VERSIONS)
_V2: Final = ("v2",)


def predict(call: RestCall, *, model: str = "", known: tuple[str, ...] = _ALL) -> Reply:
    """One input, in the API version that the call selects; ``model`` where the address names it."""

    def handle(caller: Caller, api_version: str) -> tuple[Any, Decision | None]:
        body = call.json_object()
        parsed = parse(api_version, body, model=model)
        try:
            answer = prediction.predict(caller, parsed, context(call, Operation.PREDICT, api_version))
        except Exception:
            call.deprecations = _pinned(caller, [parsed], call_id=call.request_id)
            raise
        result = single(answer)
        headers = {"X-Cache": "HIT", "Age": str(result.age_s)} if result.cached else {"X-Cache": "MISS"}
        ending = (result.deprecation,) if result.deprecation is not None else ()
        for schedule, _ in samples.ending(api_version, (parsed.model or caller.default_model,)):
            _sample(call, caller, schedule, api_version, parsed, body, answer)
        return Reply(render(api_version, answer), headers=headers, deprecations=ending), answer.decision

    return keyed.answer(call, handle, known=known)


def batch_predict(call: RestCall) -> Reply:
    """Many inputs, of several models if need be, admitted at once."""

    def handle(caller: Caller, api_version: str) -> tuple[Any, Decision | None]:
        sent = call.json_object()
        parsed = v2.parse_batch(sent)
        wanted = [item for item in parsed if isinstance(item, PredictRequest)]
        try:
            answer = prediction.predict_many(caller, wanted, context(call, Operation.BATCH, api_version))
        except Exception:
            call.deprecations = _pinned(caller, wanted, call_id=call.request_id)
            raise
        results = _in_order(parsed, answer)
        body = batches.render(results, units=answer.units, request_id=call.request_id)
        ending = _ending(caller, wanted, answer, call_id=call.request_id)
        _sample_batch(call, caller, api_version, parsed, sent["requests"], results)
        return Reply(body, deprecations=ending), answer.decision

    return keyed.answer(call, handle, known=_V2)


class PredictView(KeyedView):
    """One input."""

    api_versions: ClassVar[tuple[str, ...]] = _ALL

    def post(self, request: Request, path_version: str = "") -> Response:
        return self.write(predict(self.call(request)))


class ModelPredictView(KeyedView):
    """One input for the model that the address names: ``name`` or ``name@1.2.0``."""

    def post(self, request: Request, path_version: str = "", model: str = "") -> Response:
        return self.write(predict(self.call(request), model=model, known=_V2))


class BatchPredictView(KeyedView):
    """Many inputs."""

    def post(self, request: Request, path_version: str = "") -> Response:
        return self.write(batch_predict(self.call(request)))


def context(call: RestCall, operation: Operation, api_version: str) -> CallContext:
    """What is true of the call as a whole."""
    return CallContext(
        request_id=call.request_id,
        operation=operation.value,
        api_version=api_version,
        client=call.header("USER_AGENT"),
        timeout_s=settings.PREDICT_TIMEOUT_S,
        cache=parsing.cache_policy(call.header("CACHE_CONTROL")),
    )


def _sample(
    call: RestCall,
    caller: Caller,
    schedule: Schedule,
    api_version: str,
    request: PredictRequest,
    body: Mapping[str, Any],
    answer: Answer,
) -> None:
    samples.offer(
        schedule=schedule,
        caller=caller,
        api_version=api_version,
        model=request.model,
        body=body,
        answer=answer,
        client=call.header("USER_AGENT"),
    )


def _sample_batch(
    call: RestCall,
    caller: Caller,
    api_version: str,
    parsed: Sequence[PredictRequest | PlatformError],
    bodies: Sequence[Mapping[str, Any]],
    results: Sequence[PredictResult | PlatformError],
) -> None:
    """One request of the batch stands for it, as a call of its own."""
    answered = [
        (request, body, result)
        for request, body, result in zip(parsed, bodies, results, strict=True)
        if isinstance(request, PredictRequest) and isinstance(result, PredictResult)
    ]
    if not answered:
        return
    names = (request.model or caller.default_model for request, _, _ in answered)
    for schedule, index in samples.ending(api_version, names):
        request, body, result = answered[index]
        _sample(call, caller, schedule, api_version, request, body, Answer((result,), result.units, None))


def _ending(
    caller: Caller, wanted: Sequence[PredictRequest], answer: Answer, *, call_id: str
) -> tuple[Deprecation, ...]:
    results = [result for result in answer.results if not isinstance(result, PlatformError)]
    if len(results) < len(answer.results):
        return _pinned(caller, wanted, call_id=call_id)
    return tuple(dict.fromkeys(result.deprecation for result in results if result.deprecation is not None))


def _pinned(caller: Caller, wanted: Sequence[PredictRequest], *, call_id: str) -> tuple[Deprecation, ...]:
    """What ends of the model versions that a call pinned, looked up anew where a refusal has no result that says it."""
    found: dict[Deprecation, None] = {}
    for request in wanted:
        name = request.model or caller.default_model
        if "@" not in name or not caller.may_use(name.partition("@")[0]):
            continue
        try:
            deprecation = catalogue.judge_model_version(
                name, tenant_id=caller.tenant_id, call_id=call_id, field=f"{request.path}model"
            )
        except Ended as error:
            deprecation = error.deprecation
        if deprecation is not None:
            found[deprecation] = None
    return tuple(found)


def _in_order(parsed: list[PredictRequest | PlatformError], answer: Answer) -> list[Any]:
    """The problems of requests that could not be read, and the answers of the others, in the order of the call."""
    answers = iter(answer.results)
    return [item if isinstance(item, PlatformError) else next(answers) for item in parsed]
