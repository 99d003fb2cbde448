"""``POST …/predict`` and ``POST …/batch-predict``: the handlers, and the views that lead to them."""

from typing import Any, ClassVar, Final

from rest_framework.request import Request
from rest_framework.response import Response

from billing.admission import Decision
from billing.http import keyed
from billing.models import Operation
from billing.rest.views import KeyedView
from inference.api_versions import VERSIONS, parse, render, v2
from inference.api_versions.answers import PredictionV1, PredictionV1_1
from inference.api_versions.messages import BatchRequest
from inference.api_versions.messages import PredictRequest as PredictMessage
from inference.calls import context, deprecated_use
from inference.engine import predict as prediction
from inference.engine.predict import Answer, single
from inference.inputs import truncation
from inference.rest import batches, sampling, uploads
from inference.rest.prediction_declarations import (
    ANSWERS,
    CACHE_CONTROL,
    CUT,
    DIGIT,
    ENDING,
    KINDS,
    MODEL_IN_QUERY,
    MODEL_OF_BATCH,
    MODEL_PARAMETER,
    REQUEST_V1,
    SENTENCE,
    TAG,
    predicting,
)
from inference.types import PredictRequest
from mlplatform.lib.errors import PlatformError
from tenants.authentication import Caller
from tenants.http.call import Reply, RestCall
from tenants.rest.declarations import ANY_VERSION, API_VERSION_NAME, ApiOperation, Example, documented, offered, query

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
            call.deprecations = deprecated_use.deprecations_of(caller, [parsed], call_id=call.request_id)
            raise
        result = single(answer)
        headers = {"X-Cache": "HIT", "Age": str(result.age_s)} if result.cached else {"X-Cache": "MISS"}
        if api_version not in _V2:
            headers.update(truncation.told([result.truncated]))
        deprecations = (result.deprecation,) if result.deprecation is not None else ()
        sampling.sample(call, caller, api_version, parsed, body, answer)
        return Reply(render(api_version, answer), headers=headers, deprecations=deprecations), answer.decision

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
            call.deprecations = deprecated_use.deprecations_of(caller, wanted, call_id=call.request_id)
            raise
        results = _in_order(parsed, answer)
        body = batches.render(results, units=answer.units, request_id=call.request_id)
        deprecations = deprecated_use.deprecations_of_batch(caller, wanted, answer, call_id=call.request_id)
        sampling.sample_batch(call, caller, api_version, parsed, sent["requests"], results)
        return Reply(body, deprecations=deprecations), answer.decision

    return keyed.answer(call, handle, known=_V2)


@documented(
    "v1",
    post=predicting(
        "predictV1",
        "Predict: the best label",
        "The best label of a classification.",
        request=REQUEST_V1,
        answer=PredictionV1,
        examples=(SENTENCE,),
        after=(CUT,),
    ),
)
@documented(
    "v1.1",
    post=predicting(
        "predictV1_1",
        "Predict: the best label, the model version and the time",
        "v1, and which model version answered in which time.",
        request=REQUEST_V1,
        answer=PredictionV1_1,
        examples=(SENTENCE,),
        after=(CUT,),
    ),
)
@documented(post=predicting("predict", "Predict", "One input through one model."))
@documented(
    ANY_VERSION,
    post=predicting(
        "predictAnyVersion",
        "Predict in the API version that the call selects",
        "The API version is that of the header `API-Version`, else of the query `version`, else the key's pinned one, else the "
        "platform's default. Header and query must agree.",
        request=(PredictMessage, REQUEST_V1),
        answer=(*ANSWERS, PredictionV1_1, PredictionV1),
        before=(
            offered("API-Version", "The API version that shall answer.", API_VERSION_NAME),
            query("version", "The same, for clients that cannot set headers.", API_VERSION_NAME),
            MODEL_IN_QUERY,
        ),
        after=(CUT,),
    ),
)
class PredictView(KeyedView):
    """One input."""

    api_versions: ClassVar[tuple[str, ...]] = _ALL

    def call(self, request: Request) -> RestCall:
        return _with_uploads(super().call(request))

    def post(self, request: Request, path_version: str = "") -> Response:
        return self.write(predict(self.call(request)))


@documented(
    post=predicting(
        "predictWithModel",
        "Predict with the model of the address",
        "As `/v2/predict`; a `model` in the body must be equal to the address's.",
        examples=(Example("A sentence", {"input": "What a wonderful morning!"}),),
        before=(MODEL_PARAMETER,),
    )
)
class ModelPredictView(KeyedView):
    """One input for the model that the address names: ``name`` or ``name@1.2.0``."""

    def call(self, request: Request) -> RestCall:
        return _with_uploads(super().call(request))

    def post(self, request: Request, path_version: str = "", model: str = "") -> Response:
        return self.write(predict(self.call(request), model=model, known=_V2))


@documented(
    post=ApiOperation(
        id="batchPredict",
        tag=TAG,
        summary="Predict many at once",
        description="Many inputs, of several models if need be, admitted at once: all of them or none. Each gets its result "
        "or its problem, in order; what failed is not charged. Needs the scope `batch`.",
        request=BatchRequest,
        answer=batches.BatchAnswer,
        kinds=KINDS,
        parameters=[MODEL_OF_BATCH, CACHE_CONTROL, *ENDING],
        examples=[
            Example(
                "Two models",
                {
                    "requests": [
                        {"model": "sentiment", "input": "What a wonderful morning!"},
                        {"model": "digits", "input": DIGIT, "parameters": {"top_k": 3}},
                    ]
                },
            )
        ],
    )
)
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
