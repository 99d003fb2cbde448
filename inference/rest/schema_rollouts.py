"""JSON Schemas of rollouts; ``rollouts.py`` refers to them by name."""

from typing import Final

from inference.models import PromotionReason
from inference.rest.rollout_messages import CanaryRequest, PromoteRequest, ShadowRequest, UpdateModelRequest
from inference.rest.schema_components import COUNT
from tenants.http.json_schemas import Schema
from tenants.http.json_schemas import component as json_schema
from tenants.http.messages import EmptyRequest
from tenants.rest.declarations import ref

_TEXT: Final[Schema] = {"type": "string"}
_VERSION_OR_NONE: Final[Schema] = {"type": ["string", "null"]}
_MOMENT: Final[Schema] = {"type": "string", "format": "date-time"}
_PERCENT: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": 100}
_NUMBER_OR_NONE: Final[Schema] = {"type": ["number", "null"]}
_MESSAGES: Final = (PromoteRequest, EmptyRequest, CanaryRequest, ShadowRequest, UpdateModelRequest)
_BOUNDS: Final = {
    name: schema
    for name, schema in json_schema(CanaryRequest)["properties"].items()
    if name in {"max_error_rate", "max_latency_ratio", "min_calls"}
}


def _object(properties: dict[str, Schema]) -> Schema:
    return {"type": "object", "required": list(properties), "properties": properties}


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
            **_BOUNDS,
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
    **{one.__name__: json_schema(one) for one in _MESSAGES},
}
