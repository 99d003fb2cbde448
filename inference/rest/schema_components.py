"""JSON Schemas of what calls for predictions and models send and get; the modules of their views refer to them by name."""

from typing import Any, Final

from django.conf import settings

from inference.inputs.truncation import HEADER
from inference.types import MAX_TOP_K, Acceleration, Precision, RuntimeName
from tenants.http.json_schemas import Schema
from tenants.rest.declarations import header, ref

_SCORE: Final[Schema] = {"type": "number", "minimum": 0, "maximum": 1}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_LATENCY: Final[Schema] = {"type": "number", "minimum": 0, "description": "Milliseconds in the service."}
_SPEED: Final[Schema] = {"type": "number", "minimum": 0}
_PRECISION: Final[Schema] = {"type": "string", "enum": Precision.values()}
_ACCELERATION: Final[Schema] = {"type": "string", "enum": Acceleration.values()}
_USAGE: Final[Schema] = {
    "type": "object",
    "required": ["units"],
    "properties": {"units": COUNT | {"description": "What was charged."}},
}
_MODEL: Final[Schema] = {
    "type": "string",
    "maxLength": 130,
    "description": "`name` for the live version, or `name@1.2.0`. Left out, it is the tenant's default model.",
    "examples": ["sentiment"],
}


CUT: Final = header(
    HEADER,
    "Only where a text had more tokens than the model reads, and was cut: the input's place, its tokens, and how many of them "
    "were read.",
    {"type": "string", "examples": ["0;tokens=612;max_tokens=256"]},
    codes=[200],
)

_ANY_ANSWER: Final[dict[str, Schema]] = {
    "id": {"type": "string", "description": "Names this prediction and its usage record."},
    "model": {"type": "string"},
    "model_version": {"type": "string"},
    "usage": _USAGE,
    "cached": {"type": "boolean"},
    "latency_ms": _LATENCY,
}
_TRUNCATED: Final[dict[str, Schema]] = {
    "truncated": {
        "type": "object",
        "required": ["tokens", "max_tokens"],
        "properties": {
            "tokens": {"type": "integer", "minimum": 1, "description": "Of the whole text, special ones included."},
            "max_tokens": {"type": "integer", "minimum": 1, "description": "How many of them were read."},
        },
        "description": "Only where the text was cut, which `parameters.truncate` allows.",
    }
}


def _object(required: list[str], properties: dict[str, Schema], **more: Any) -> Schema:
    return {"type": "object", "required": required, "properties": properties, **more}


def _closed(required: list[str], properties: dict[str, Schema], **more: Any) -> Schema:
    """What a call sends: unknown fields are refused, because ignoring them would hide a typo."""
    return _object(required, properties, additionalProperties=False, **more)


SCHEMAS: Final[dict[str, Schema]] = {
    "Input": {
        "description": "Text, nested lists of numbers, an image, or a pair of texts: whatever the model's `input` says "
        "(GET /v2/models).",
        "anyOf": [
            {"type": "string", "minLength": 1},
            {"type": "array", "items": {}, "minItems": 1},
            ref("ImageInput"),
            ref("PairInput"),
        ],
    },
    "ImageInput": _closed(
        ["image"],
        {
            "image": {
                "type": "string",
                "contentEncoding": "base64",
                "minLength": 1,
                "description": "The bytes of a PNG, JPEG or WebP file.",
            }
        },
    ),
    "PairInput": _closed(
        ["text", "pair"],
        {
            "text": {"type": "string", "minLength": 1, "description": "The query, or the premise."},
            "pair": {"type": "string", "minLength": 1, "description": "The passage, or the hypothesis."},
        },
    ),
    "ImageForm": _closed(
        ["input"],
        {
            "model": _MODEL,
            "input": {"type": "string", "contentMediaType": "application/octet-stream", "description": "The file."},
            "parameters": {"type": "string", "description": 'JSON, such as `{"top_k": 3}`; blank is absent.'},
        },
        description="For a model that takes images, as browsers and `curl -F` send it.",
    ),
    "PredictRequestV1": _closed(["input"], {"model": _MODEL, "input": ref("Input")}),
    "PredictRequest": _closed(
        ["input"],
        {
            "model": _MODEL,
            "input": ref("Input"),
            "parameters": _closed(
                [],
                {
                    "top_k": {
                        "type": ["integer", "null"],
                        "minimum": 1,
                        "maximum": MAX_TOP_K,
                        "description": "How many labels to answer with, best first; all when left out.",
                    },
                    "truncate": {
                        "type": ["boolean", "null"],
                        "description": "Whether a text with more tokens than the model reads is cut, which the answer says "
                        "in `truncated`. Without it such a text is refused: 422 with `tokens` and `max_tokens`.",
                    },
                },
            ),
        },
    ),
    "BatchRequest": _closed(
        ["requests"],
        {
            "requests": {
                "type": "array",
                "minItems": 1,
                "maxItems": settings.MAX_BATCH_REQUESTS,
                "items": ref("PredictRequest"),
                "description": "Models may differ.",
            }
        },
    ),
    "PredictionV1": _object(["prediction", "confidence"], {"prediction": {"type": "string"}, "confidence": _SCORE}),
    "PredictionV1_1": _object(
        ["prediction", "confidence", "model_version", "latency_ms"],
        {
            "prediction": {"type": "string"},
            "confidence": _SCORE,
            "model_version": {"type": "string"},
            "latency_ms": _LATENCY,
        },
    ),
    "Prediction": _object(
        list(_ANY_ANSWER),
        _ANY_ANSWER
        | _TRUNCATED
        | {
            "predictions": {
                "type": "array",
                "items": _object(["label", "score"], {"label": {"type": "string"}, "score": _SCORE}),
                "description": "Labels, best first.",
            },
            "embedding": {
                "type": "array",
                "items": {"type": "number"},
                "description": "In place of predictions for a model that answers with a vector.",
            },
        },
        oneOf=[{"required": ["predictions"]}, {"required": ["embedding"]}],
    ),
    "Scores": _object(
        [*_ANY_ANSWER, "scores"],
        _ANY_ANSWER
        | _TRUNCATED
        | {"scores": {"type": "array", "items": _SCORE, "description": "One for each candidate, in order."}},
        description="What a model answers that scores candidates.",
    ),
    "BatchAnswer": _object(
        ["responses", "usage"],
        {
            "responses": {
                "type": "array",
                "items": {"anyOf": [ref("Prediction"), ref("Scores"), ref("Problem")]},
                "description": "The result or the problem of each request, in their order.",
            },
            "usage": _USAGE | {"description": "Of all, with the fee of the call."},
        },
    ),
    "Measurement": _object(
        [
            "precision",
            "acceleration",
            "device",
            "threads",
            "accuracy",
            "inputs",
            "data",
            "inputs_per_s",
            "alone_ms",
            "measured_at",
        ],
        {
            "precision": _PRECISION,
            "acceleration": _ACCELERATION,
            "device": {"type": "string", "description": "The name of the processor or of the GPU."},
            "threads": {"type": "integer", "minimum": 1},
            "accuracy": _SCORE | {"description": "Share of right answers."},
            "inputs": {"type": "integer", "minimum": 1, "description": "On how many it was measured."},
            "data": {"type": "string", "description": "What the inputs were."},
            "inputs_per_s": _SPEED | {"description": "In full batches, of the model without the service around it."},
            "alone_ms": _SPEED | {"description": "Median time of one input in a batch of its own, in milliseconds."},
            "measured_at": {"type": "string", "format": "date-time"},
        },
        description="How good and how fast a version is in one choice of its options, on one device.",
    ),
    "ModelVersion": _object(
        [
            "version",
            "state",
            "task",
            "input",
            "output",
            "labels",
            "accuracy",
            "accuracy_note",
            "precision",
            "acceleration",
            "measurements",
            "max_batch_size",
        ],
        {
            "version": {"type": "string"},
            "state": {"type": "string", "enum": ["live", "ready"], "description": "Ready ones answer `name@version`."},
            "task": {"type": "string", "enum": RuntimeName.values()},
            "input": {
                "type": "object",
                "description": "What the model takes.",
                "properties": {
                    "max_tokens": {
                        "type": "integer",
                        "minimum": 1,
                        "description": "Of texts: how many tokens are read, with the special ones around a text, and of "
                        "a pair of both. A longer one is refused unless the call lets it be cut.",
                    }
                },
            },
            "output": {"type": "object", "description": "What it answers with."},
            "labels": {"type": "array", "items": {"type": "string"}},
            "accuracy": {"oneOf": [_SCORE, {"type": "null"}], "description": "On data that it never saw."},
            "accuracy_note": {"type": "string", "description": "How it was measured."},
            "precision": _PRECISION,
            "acceleration": _ACCELERATION,
            "measurements": {
                "type": "array",
                "items": ref("Measurement"),
                "description": "In each option that was measured, also in those in which this version does not serve.",
            },
            "max_batch_size": {"type": "integer", "minimum": 1},
        },
    ),
    "Model": _object(
        ["name", "title", "description", "live_version", "price", "versions"],
        {
            "name": {"type": "string"},
            "title": {"type": "string"},
            "description": {"type": "string"},
            "live_version": {"type": ["string", "null"]},
            "price": _object(
                ["units_per_call", "units_per_input", "units_per_cached_input"],
                {"units_per_call": COUNT, "units_per_input": COUNT, "units_per_cached_input": COUNT},
            ),
            "versions": {"type": "array", "items": ref("ModelVersion")},
        },
    ),
    "Models": _object(["models"], {"models": {"type": "array", "items": ref("Model")}}),
}
