"""``POST …/predict`` and ``POST …/batch-predict``: the handlers, and the views that lead to them."""

from typing import Any, ClassVar, Final

from rest_framework.request import Request
from rest_framework.response import Response

from billing.admission import Decision
from billing.http import keyed
from billing.models import Operation
from billing.rest.views import KeyedView
from inference.api_versions import VERSIONS, parse, render, v2
from inference.calls import context, deprecated_use
from inference.engine import predict as prediction
from inference.engine.predict import Answer, single
from inference.inputs import truncation
from inference.rest import batches, sampling, uploads
from inference.rest.schema_components import COUNT, CUT
from inference.types import PredictRequest
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.authentication import Caller
from tenants.http.call import Reply, RestCall
from tenants.http.json_schemas import Schema
from tenants.rest.declarations import (
    ANY_VERSION,
    API_VERSION_NAME,
    ApiOperation,
    Example,
    documented,
    header,
    in_path,
    offered,
    query,
    ref,
)

_ALL: Final = tuple(VERSIONS)
_V2: Final = ("v2",)
_TAG: Final = "Predictions"
DIGIT: Final = [
    [0, 0, 5, 13, 9, 1, 0, 0],
    [0, 0, 13, 15, 10, 15, 5, 0],
    [0, 3, 15, 2, 0, 11, 8, 0],
    [0, 4, 12, 0, 0, 8, 8, 0],
    [0, 5, 8, 0, 0, 9, 8, 0],
    [0, 4, 11, 0, 1, 12, 7, 0],
    [0, 2, 14, 5, 10, 12, 0, 0],
    [0, 0, 6, 13, 10, 0, 0, 0],
]
"""A handwritten zero, 8×8."""


_SENTENCE: Final = Example("A sentence", {"model": "sentiment", "input": "What a wonderful morning!"})
_EXAMPLES: Final = (
    Example(
        "A sentence, best label only",
        {"model": "sentiment", "input": "What a wonderful morning!", "parameters": {"top_k": 1}},
    ),
    Example("A picture of a digit", {"model": "digits", "input": DIGIT}),
    Example("A text as a vector", {"model": "minilm", "input": "A cat sits on the mat."}),
    Example("A certain version", {"model": "sentiment@1.0.0", "input": "I want my money back."}),
)
_ANSWER: Final[Schema] = {"anyOf": [ref("Prediction"), ref("Scores")]}
_KINDS: Final = (
    ErrorKind.PAYLOAD_TOO_LARGE,
    ErrorKind.UNSUPPORTED_MEDIA_TYPE,
    ErrorKind.INVALID_INPUT,
    ErrorKind.GONE,
    ErrorKind.BROWNOUT,
    ErrorKind.UNPROCESSABLE,
    ErrorKind.CHARGE_TOO_LARGE,
    ErrorKind.QUOTA_EXCEEDED,
    ErrorKind.OVERLOADED,
    ErrorKind.TIMEOUT,
    ErrorKind.NOT_CACHED,
)
_CACHE_CONTROL: Final = offered(
    "Cache-Control",
    "`no-cache`: compute anew; `no-store`: neither read nor keep; `max-age=60`: take no answer that is older; "
    "`only-if-cached`: compute nothing, 504 where no answer is kept.",
    {"type": "string", "examples": ["no-cache", "max-age=60"]},
)
_TIMEOUT: Final = offered(
    "X-Request-Timeout",
    "Seconds that the call waits for its answer, at most 30. What cannot be answered in time is refused at once, uncharged. "
    "`Prefer: wait=2` says the same.",
    {"type": "number", "examples": [2.5]},
)
_X_CACHE: Final = (
    header("X-Cache", "Whether a cache answered.", {"type": "string", "enum": ["HIT", "MISS"]}, codes=[200]),
    header("Age", "Seconds since the answer was computed; only for a HIT.", COUNT, codes=[200]),
)
_SCOPED: Final = (
    "Needs the scope `predict`. A prediction changes nothing, so a call without an answer may be sent again."
)
_ENDING: Final = (
    header(
        "Deprecation",
        "Only when the API version, or the model version that the call pins, is deprecated: since when (RFC 9745).",
        {"type": "string", "examples": ["@1688169599"]},
    ),
    header(
        "Sunset",
        "Beside Deprecation: when it ends for you (RFC 8594). From then on calls get 410.",
        {"type": "string", "examples": ["Wed, 30 Jun 2027 23:59:59 GMT"]},
    ),
    header(
        "Link",
        "Beside Deprecation: the migration guide (`deprecation`, `sunset`) and what to call instead "
        "(`successor-version`).",
        {"type": "string"},
    ),
    header(
        "X-API-Deprecated",
        "Beside Deprecation, for simple clients.",
        {"type": "string", "enum": ["true"]},
    ),
    header(
        "X-API-Sunset-Date",
        "The day of Sunset, for simple clients.",
        {"type": "string", "format": "date"},
    ),
)
_CACHING: Final = (_TIMEOUT, _CACHE_CONTROL, *_X_CACHE, *_ENDING)
_UPLOADS: Final[dict[str, Schema]] = {
    "multipart/form-data": ref("ImageForm"),
    **{
        media_type: {"type": "string", "contentMediaType": media_type, "description": "The bytes of the image."}
        for media_type in sorted(uploads.IMAGES)
    },
}
_MODEL_IN_QUERY: Final = query(
    "model",
    "The model, as the body may name it; where both do, they must be equal. An image has no other place for it.",
    {"type": "string", "maxLength": 130},
)
_MODEL_OF_BATCH: Final = query(
    "model",
    "The model of every request; one that names another is its own problem.",
    {"type": "string", "maxLength": 130},
)
_MODEL_PARAMETER: Final = in_path("model", "`name` or `name@1.2.0`.", {"type": "string"})


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
    post=ApiOperation(
        id="predictV1",
        summary="Predict: the best label",
        description=f"The best label of a classification. {_SCOPED}",
        request=ref("PredictRequestV1"),
        answer=ref("PredictionV1"),
        examples=[_SENTENCE],
        tag=_TAG,
        bodies=_UPLOADS,
        kinds=_KINDS,
        parameters=[_MODEL_IN_QUERY, *_CACHING, CUT],
    ),
)
@documented(
    "v1.1",
    post=ApiOperation(
        id="predictV1_1",
        summary="Predict: the best label, the model version and the time",
        description=f"v1, and which model version answered in which time. {_SCOPED}",
        request=ref("PredictRequestV1"),
        answer=ref("PredictionV1_1"),
        examples=[_SENTENCE],
        tag=_TAG,
        bodies=_UPLOADS,
        kinds=_KINDS,
        parameters=[_MODEL_IN_QUERY, *_CACHING, CUT],
    ),
)
@documented(
    post=ApiOperation(
        id="predict",
        summary="Predict",
        description=f"One input through one model. {_SCOPED}",
        request=ref("PredictRequest"),
        answer=_ANSWER,
        examples=_EXAMPLES,
        tag=_TAG,
        bodies=_UPLOADS,
        kinds=_KINDS,
        parameters=[_MODEL_IN_QUERY, *_CACHING],
    )
)
@documented(
    ANY_VERSION,
    post=ApiOperation(
        id="predictAnyVersion",
        tag=_TAG,
        bodies=_UPLOADS,
        summary="Predict in the API version that the call selects",
        description="The API version is that of the header `API-Version`, else of the query `version`, else the key's pinned "
        f"one, else the platform's default. Header and query must agree. {_SCOPED}",
        request={"anyOf": [ref("PredictRequest"), ref("PredictRequestV1")]},
        answer={"anyOf": [*_ANSWER["anyOf"], ref("PredictionV1_1"), ref("PredictionV1")]},
        kinds=_KINDS,
        parameters=[
            offered(
                "API-Version",
                "The API version that shall answer.",
                API_VERSION_NAME,
            ),
            query("version", "The same, for clients that cannot set headers.", API_VERSION_NAME),
            _MODEL_IN_QUERY,
            *_CACHING,
            CUT,
        ],
        examples=_EXAMPLES,
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
    post=ApiOperation(
        id="predictWithModel",
        summary="Predict with the model of the address",
        description=f"As `/v2/predict`; a `model` in the body must be equal to the address's. {_SCOPED}",
        request=ref("PredictRequest"),
        answer=_ANSWER,
        examples=[Example("A sentence", {"input": "What a wonderful morning!"})],
        tag=_TAG,
        bodies=_UPLOADS,
        kinds=_KINDS,
        parameters=[_MODEL_PARAMETER, *_CACHING],
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
        tag=_TAG,
        summary="Predict many at once",
        description="Many inputs, of several models if need be, admitted at once: all of them or none. Each gets its result "
        "or its problem, in order; what failed is not charged. Needs the scope `batch`.",
        request=ref("BatchRequest"),
        answer=ref("BatchAnswer"),
        kinds=_KINDS,
        parameters=[_MODEL_OF_BATCH, _CACHE_CONTROL, *_ENDING],
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
