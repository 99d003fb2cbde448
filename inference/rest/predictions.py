"""``POST …/predict`` and ``POST …/batch-predict``: the handlers, and the views that lead to them."""

from typing import Any, ClassVar, Final

from rest_framework.request import Request
from rest_framework.response import Response

from billing.admission import Decision
from billing.http import keyed
from billing.models import Operation
from billing.rest.views import KeyedView
from inference.api_versions import VERSIONS, parse, render, v2
from inference.calls import context
from inference.calls import endings as call_endings
from inference.engine import predict as prediction
from inference.engine.predict import Answer, single
from inference.inputs import truncation
from inference.rest import batches, endings, uploads
from inference.types import PredictRequest
from mlplatform.lib.errors import PlatformError
from tenants.authentication import Caller
from tenants.http.call import Reply, RestCall

_ALL: Final = tuple(VERSIONS)
_V2: Final = ("v2",)


def predict(call: RestCall, *, model: str = "", known: tuple[str, ...] = _ALL) -> Reply:
    """One input, in the API version that the call selects; ``model`` where the address names it. The body is JSON or an
    upload (see :mod:`inference.rest.uploads`)."""

    def handle(caller: Caller, api_version: str) -> tuple[Any, Decision | None]:
        body = call.json_object()
        parsed = parse(api_version, body, model=uploads.model_of(call, address=model))
        try:
            answer = prediction.predict(caller, parsed, context.context(call, Operation.PREDICT, api_version))
        except Exception:
            call.deprecations = call_endings.endings_of(caller, [parsed], call_id=call.request_id)
            raise
        result = single(answer)
        headers = {"X-Cache": "HIT", "Age": str(result.age_s)} if result.cached else {"X-Cache": "MISS"}
        if api_version not in _V2:
            headers.update(truncation.told([result.truncated]))
        ending = (result.deprecation,) if result.deprecation is not None else ()
        endings.sample(call, caller, api_version, parsed, body, answer)
        return Reply(render(api_version, answer), headers=headers, deprecations=ending), answer.decision

    return keyed.answer(call, handle, known=known)


def batch_predict(call: RestCall) -> Reply:
    """Many inputs, of several models if need be, admitted at once."""

    def handle(caller: Caller, api_version: str) -> tuple[Any, Decision | None]:
        sent = call.json_object()
        parsed = v2.parse_batch(sent, model=uploads.model_of(call))
        wanted = [item for item in parsed if isinstance(item, PredictRequest)]
        try:
            answer = prediction.predict_many(caller, wanted, context.context(call, Operation.BATCH, api_version))
        except Exception:
            call.deprecations = call_endings.endings_of(caller, wanted, call_id=call.request_id)
            raise
        results = _in_order(parsed, answer)
        body = batches.render(results, units=answer.units, request_id=call.request_id)
        ending = endings.of_batch(call, caller, wanted, answer)
        endings.sample_batch(call, caller, api_version, parsed, sent["requests"], results)
        return Reply(body, deprecations=ending), answer.decision

    return keyed.answer(call, handle, known=_V2)


class PredictView(KeyedView):
    """One input."""

    api_versions: ClassVar[tuple[str, ...]] = _ALL

    def call(self, request: Request) -> RestCall:
        return _with_uploads(super().call(request))

    def post(self, request: Request, path_version: str = "") -> Response:
        return self.write(predict(self.call(request)))


class ModelPredictView(KeyedView):
    """One input for the model that the address names: ``name`` or ``name@1.2.0``."""

    def call(self, request: Request) -> RestCall:
        return _with_uploads(super().call(request))

    def post(self, request: Request, path_version: str = "", model: str = "") -> Response:
        return self.write(predict(self.call(request), model=model, known=_V2))


class BatchPredictView(KeyedView):
    """Many inputs."""

    def post(self, request: Request, path_version: str = "") -> Response:
        return self.write(batch_predict(self.call(request)))


def _with_uploads(call: RestCall) -> RestCall:
    """The call, whose body may be an upload too."""
    call.parse = lambda: uploads.body_of(call.META)
    return call


def _in_order(parsed: list[PredictRequest | PlatformError], answer: Answer) -> list[Any]:
    """The problems of requests that could not be read, and the answers of the others, in the order of the call."""
    answers = iter(answer.results)
    return [item if isinstance(item, PlatformError) else next(answers) for item in parsed]
