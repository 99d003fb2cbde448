"""JSON Schemas of rollouts; ``rollouts.py`` refers to them by name."""

from typing import Any, Final

from inference.models import PromotionReason
from inference.rest.schema_components import COUNT
from tenants.rest.declarations import Schema, ref

_TEXT: Final[Schema] = {"type": "string"}
_VERSION: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 64, "examples": ["1.2.0"]}
_VERSION_OR_NONE: Final[Schema] = {"type": ["string", "null"]}
_MOMENT: Final[Schema] = {"type": "string", "format": "date-time"}
_PERCENT: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": 100}
_NUMBER_OR_NONE: Final[Schema] = {"type": ["number", "null"]}
_ERROR_RATE: Final[Schema] = {
    "type": "number",
    "minimum": 0,
    "maximum": 1,
    "description": "Share of the canary's inputs that may fail, as long as the live version's do not fail as well.",
}
_RATIO: Final[Schema] = {
    "type": "number",
    "minimum": 1,
    "maximum": 100,
    "description": "How many times the live version's median latency the canary's may be.",
}
_MIN_CALLS: Final[Schema] = {
    "type": "integer",
    "minimum": 1,
    "maximum": 1_000_000,
    "description": "How many inputs must be seen before the bounds count.",
}


def _object(properties: dict[str, Schema], *, optional: tuple[str, ...] = (), **more: Any) -> Schema:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "required": required, "properties": properties, **more}


def _asked(properties: dict[str, Schema], *, optional: tuple[str, ...] = ()) -> Schema:
    schema = _object(properties, optional=optional, additionalProperties=False)
    return schema if schema["required"] else {name: value for name, value in schema.items() if name != "required"}


def _or_none(schema: Schema) -> Schema:
    return {"oneOf": [schema, {"type": "null"}]}


_ARM: Final = _object({"inputs": COUNT, "errors": COUNT, "timed": COUNT, "median_ms": _NUMBER_OR_NONE})
_TRIAL: Final[dict[str, Schema]] = {"version": _TEXT, "percent": _PERCENT, "started_at": _MOMENT}

SCHEMAS: Final[dict[str, Schema]] = {
    "Canary": _object(
        {
            **_TRIAL,
            "observed": _or_none(_object({"canary": _ARM, "live": _ARM}))
            | {"description": "What was computed so far; null in the first seconds."},
            "max_error_rate": _ERROR_RATE,
            "max_latency_ratio": _RATIO,
            "min_calls": _MIN_CALLS,
        }
    ),
    "Shadow": _object(
        {
            **_TRIAL,
            "observed": _or_none(
                _object(
                    {
                        "compared": COUNT,
                        "agreed": COUNT | {"description": "Same best label, or as good as the same vector."},
                        "errors": COUNT,
                        "refused": COUNT | {"description": "Inputs that the candidate does not take."},
                        "dropped": COUNT | {"description": "Not compared, because workers were busy."},
                        "mean_difference": _NUMBER_OR_NONE | {"description": "0: equal answers; 1: nothing in common."},
                    }
                )
            )
            | {"description": "What was compared so far; null in the first seconds."},
        }
    ),
    "Rollouts": _object(
        {
            "model": _TEXT,
            "live_version": _VERSION_OR_NONE,
            "rollback_version": _VERSION_OR_NONE
            | {"description": "Where a rollback would go now; null where there is nothing to go back to."},
            "canary": _or_none(ref("Canary")),
            "shadow": _or_none(ref("Shadow")),
            "history": {
                "type": "array",
                "description": "Every switch of the live version, the latest first.",
                "items": _object(
                    {
                        "version": _TEXT,
                        "reason": {"type": "string", "enum": list(PromotionReason.values)},
                        "at": _MOMENT,
                    }
                ),
            },
        }
    ),
    "PromoteRequest": _asked({"version": _VERSION}),
    "EmptyRequest": _asked({}),
    "CanaryRequest": _asked(
        {
            "version": _VERSION,
            "percent": _PERCENT | {"description": "Of the tenants; of a private model 100."},
            "max_error_rate": _ERROR_RATE,
            "max_latency_ratio": _RATIO,
            "min_calls": _MIN_CALLS,
        },
        optional=("max_error_rate", "max_latency_ratio", "min_calls"),
    ),
    "ShadowRequest": _asked(
        {"version": _VERSION, "percent": _PERCENT | {"description": "Of the computed inputs."}}, optional=("percent",)
    ),
    "UpdateModelRequest": _asked({"model": {"type": "string", "minLength": 1, "maxLength": 64}, "version": _VERSION}),
}
