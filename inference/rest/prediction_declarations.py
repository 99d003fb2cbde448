"""What the OpenAPI declarations of predictions have in common. See ``tenants/rest/declarations.py``."""

from typing import Final

from inference.api_versions import DESCRIPTIONS
from inference.api_versions.answers import Prediction, Scores
from inference.api_versions.messages import ImageForm, PredictRequest
from inference.inputs.truncation import HEADER
from inference.rest import uploads
from inference.types import MAX_MODEL_CHARS
from mlplatform.lib.errors import ErrorKind
from tenants.http.answers import Answer, Count
from tenants.http.json_schemas import Schema, Shape, field_schema
from tenants.http.messages import Message
from tenants.rest.declarations import ApiOperation, Example, Parameter, header, in_path, offered, query

TAG: Final = "Predictions"
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


SENTENCE: Final = Example("A sentence", {"model": "sentiment", "input": "What a wonderful morning!"})
EXAMPLES: Final = (
    Example(
        "A sentence, best label only",
        {"model": "sentiment", "input": "What a wonderful morning!", "parameters": {"top_k": 1}},
    ),
    Example("A picture of a digit", {"model": "digits", "input": DIGIT}),
    Example("A text as a vector", {"model": "minilm", "input": "A cat sits on the mat."}),
    Example("A certain version", {"model": "sentiment@1.0.0", "input": "I want my money back."}),
)
ANSWERS: Final = (Prediction, Scores)
REQUEST_V1: Final = DESCRIPTIONS.request("v1", called="PredictRequestV1")
"""That of v1.1 is the same."""
KINDS: Final = (
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
CACHE_CONTROL: Final = offered(
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
    header("Age", "Seconds since the answer was computed; only for a HIT.", field_schema(Count), codes=[200]),
)
SCOPED: Final = (
    "Needs the scope `predict`. A prediction changes nothing, so a call without an answer may be sent again."
)
ENDING: Final = (
    header(
        "Deprecation",
        "Only when the API version, or the model version that the call pins, is deprecated: since when (RFC 9745).",
        {"type": "string", "examples": ["@1688169599"]},
    ),
    header(
        "Sunset",
        "From the announcement on that the API version, or the model version that the call pins, ends: when it ends for you "
        "(RFC 8594). From then on calls get 410.",
        {"type": "string", "examples": ["Wed, 30 Jun 2027 23:59:59 GMT"]},
    ),
    header(
        "Link",
        "Beside Sunset: the migration guide (`deprecation`, `sunset`) and what to call instead (`successor-version`).",
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
_CACHING: Final = (_TIMEOUT, CACHE_CONTROL, *_X_CACHE, *ENDING)
_UPLOADS: Final[dict[str, Shape]] = {
    uploads.FORM: ImageForm,
    **{
        media_type: {"type": "string", "contentMediaType": media_type, "description": "The bytes of the image."}
        for media_type in sorted(uploads.IMAGES)
    },
}
_NAME: Final[Schema] = {"type": "string", "maxLength": MAX_MODEL_CHARS}
MODEL_IN_QUERY: Final = query(
    "model",
    "The model, as the body may name it; where both do, they must be equal. An image has no other place for it.",
    _NAME,
)
MODEL_OF_BATCH: Final = query(
    "model",
    "The model of every request; one that names another is its own problem.",
    _NAME,
)
MODEL_PARAMETER: Final = in_path("model", "`name` or `name@1.2.0`.", {"type": "string"})
CUT: Final = header(
    HEADER,
    "Only where a text had more tokens than the model reads, and was cut: the input's place, its tokens, and how many of them "
    "were read.",
    {"type": "string", "examples": ["0;tokens=612;max_tokens=256"]},
    codes=[200],
)


def predicting(
    id: str,  # noqa: A002 - the field's name
    summary: str,
    description: str,
    *,
    request: type[Message] | tuple[type[Message], ...] = PredictRequest,
    answer: type[Answer] | tuple[type[Answer], ...] = ANSWERS,
    examples: tuple[Example, ...] = EXAMPLES,
    before: tuple[Parameter, ...] = (MODEL_IN_QUERY,),
    after: tuple[Parameter, ...] = (),
) -> ApiOperation:
    """The declaration of an operation that takes one input; ``before`` and ``after`` stand around the parameters of all."""
    return ApiOperation(
        id=id,
        tag=TAG,
        summary=summary,
        description=f"{description} {SCOPED}",
        request=request,
        bodies=_UPLOADS,
        answer=answer,
        kinds=KINDS,
        parameters=(*before, *_CACHING, *after),
        examples=examples,
    )
