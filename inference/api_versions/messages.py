"""What calls for predictions say, each message declared once: REST reads its bodies by them, and GraphQL its arguments."""

from typing import Annotated, Any, TypeAlias

from django.conf import settings
from msgspec import Meta

from inference.inputs.json_inputs import ImageInput, PairInput
from inference.types import MAX_MODEL_CHARS, MAX_TOP_K
from tenants.http.json_schemas import any_of, field_schema
from tenants.http.messages import Message

Model: TypeAlias = Annotated[
    str,
    Meta(
        max_length=MAX_MODEL_CHARS,
        description="`name` for the live version, or `name@1.2.0`. Left out, it is the tenant's default model.",
        examples=["sentiment"],
    ),
]
TopK: TypeAlias = Annotated[
    int, Meta(ge=1, le=MAX_TOP_K, description="How many labels to answer with, best first; all when left out.")
]
Truncate: TypeAlias = Annotated[
    bool,
    Meta(
        description="Whether a text with more tokens than the model reads is cut, which the answer says in `truncated`. Without "
        "it such a text is refused, with its `tokens` and the model's `max_tokens`."
    ),
]
_Input: TypeAlias = Annotated[
    Any,
    any_of(
        field_schema(Annotated[str, Meta(min_length=1)]),
        field_schema(Annotated[list[Any], Meta(min_length=1)]),
        ImageInput,
        PairInput,
    ),
    Meta(
        description="Text, nested lists of numbers, an image, or a pair of texts: whatever the model's `input` says "
        "(GET /v2/models)."
    ),
]


class Parameters(Message, frozen=True):
    """What a call may ask of its answer."""

    top_k: TopK | None = None
    truncate: Truncate | None = None


class PredictRequest(Message, frozen=True, kw_only=True):
    """One input for one model."""

    model: Model | None = None
    input: _Input
    parameters: Parameters | None = None


class BatchRequest(Message, frozen=True):
    """Many inputs, of several models if need be."""

    requests: Annotated[
        tuple[PredictRequest, ...],
        Meta(min_length=1, max_length=settings.MAX_BATCH_REQUESTS, description="Models may differ."),
    ]


class ImageForm(Message, frozen=True, kw_only=True):
    """For a model that takes images, as browsers and `curl -F` send it."""

    model: Model | None = None
    input: Annotated[
        Any,
        Meta(
            description="The file.",
            extra_json_schema={"type": "string", "contentMediaType": "application/octet-stream"},
        ),
    ]
    parameters: Annotated[str, Meta(description='JSON, such as `{"top_k": 3}`; blank is absent.')] | None = None
