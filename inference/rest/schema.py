"""OpenAPI of predictions and models: subclasses of the views that answer, which only declare.

See ``tenants/rest/openapi.py``.
"""

from typing import Any, Final

from django.urls import path
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema_view

from inference.rest import model_list, predictions, uploads
from inference.rest.schema_components import COUNT, CUT
from mlplatform.lib.errors import ErrorKind
from tenants.rest.openapi import API_VERSION_NAME, Schema, describe, header, offered, ref

_TAG: Final = "Predictions"
_MODELS: Final = "Models"
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


def _example(name: str, value: Any) -> OpenApiExample:
    return OpenApiExample(name, value=value, request_only=True)


_SENTENCE: Final = _example("A sentence", {"model": "sentiment", "input": "What a wonderful morning!"})
_EXAMPLES: Final = (
    _example(
        "A sentence, best label only",
        {"model": "sentiment", "input": "What a wonderful morning!", "parameters": {"top_k": 1}},
    ),
    _example("A picture of a digit", {"model": "digits", "input": DIGIT}),
    _example("A text as a vector", {"model": "minilm", "input": "A cat sits on the mat."}),
    _example("A certain version", {"model": "sentiment@1.0.0", "input": "I want my money back."}),
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
_MODEL_IN_QUERY: Final = OpenApiParameter(
    "model",
    {"type": "string", "maxLength": 130},
    OpenApiParameter.QUERY,
    description="The model, as the body may name it; where both do, they must be equal. An image has no other place for it.",
)
_MODEL_OF_BATCH: Final = OpenApiParameter(
    "model",
    {"type": "string", "maxLength": 130},
    OpenApiParameter.QUERY,
    description="The model of every request; one that names another is its own problem.",
)
_MODEL_PARAMETER: Final = OpenApiParameter(
    "model", {"type": "string"}, OpenApiParameter.PATH, description="`name` or `name@1.2.0`."
)


@extend_schema_view(
    post=describe(
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
    )
)
class PredictV1(predictions.PredictView):
    """Declared, not served."""


@extend_schema_view(
    post=describe(
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
    )
)
class PredictV1Dot1(predictions.PredictView):
    """Declared, not served."""


@extend_schema_view(
    post=describe(
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
class Predict(predictions.PredictView):
    """Declared, not served."""


@extend_schema_view(
    post=describe(
        id="predictWithModel",
        summary="Predict with the model of the address",
        description=f"As `/v2/predict`; a `model` in the body must be equal to the address's. {_SCOPED}",
        request=ref("PredictRequest"),
        answer=_ANSWER,
        examples=[_example("A sentence", {"input": "What a wonderful morning!"})],
        tag=_TAG,
        bodies=_UPLOADS,
        kinds=_KINDS,
        parameters=[_MODEL_PARAMETER, *_CACHING],
    )
)
class PredictWithModel(predictions.ModelPredictView):
    """Declared, not served."""


@extend_schema_view(
    post=describe(
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
            _example(
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
class BatchPredict(predictions.BatchPredictView):
    """Declared, not served."""


@extend_schema_view(
    post=describe(
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
            OpenApiParameter(
                "version",
                API_VERSION_NAME,
                OpenApiParameter.QUERY,
                description="The same, for clients that cannot set headers.",
            ),
            _MODEL_IN_QUERY,
            *_CACHING,
            CUT,
        ],
        examples=_EXAMPLES,
    )
)
class PredictAnyVersion(predictions.PredictView):
    """Declared, not served."""


@extend_schema_view(
    get=describe(
        id="listModels",
        tag=_MODELS,
        summary="Models",
        description="Every model that the key may use, with its versions, prices and measured accuracy. Needs the scope "
        "`models:read`.",
        answer=ref("Models"),
    )
)
class Models(model_list.ModelsView):
    """Declared, not served."""


@extend_schema_view(
    get=describe(
        id="getModel",
        tag=_MODELS,
        summary="One model",
        description="One model and its versions. Needs the scope `models:read`.",
        answer=ref("Model"),
        parameters=[
            OpenApiParameter("model", {"type": "string"}, OpenApiParameter.PATH, description="The model's name.")
        ],
    )
)
class Model(model_list.ModelView):
    """Declared, not served."""


v1 = [path("predict", PredictV1.as_view())]
v1_1 = [path("predict", PredictV1Dot1.as_view())]
v2 = [
    path("predict", Predict.as_view()),
    path("batch-predict", BatchPredict.as_view()),
    path("models", Models.as_view()),
    path("models/<str:model>", Model.as_view()),
    path("models/<str:model>/predict", PredictWithModel.as_view()),
]
unversioned = [path("predict", PredictAnyVersion.as_view())]
