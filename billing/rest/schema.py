"""JSON Schemas of reports; ``reports.py`` refers to them by name."""

from typing import Final, get_args

from billing.admission import LimitKind
from billing.metering.reports import Grouping
from tenants.rest.declarations import API_VERSION_NAME, Schema, ref
from tenants.scopes import SCOPES

_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_SECONDS: Final[Schema] = {"type": "number", "minimum": 0}
_DAY: Final[Schema] = {"type": "string", "format": "date"}
_NUMBERS: Final[dict[str, Schema]] = {
    "calls": _COUNT
    | {
        "description": "Calls, each once, however many inputs and models it had. By model: the calls that named it, so that a "
        "call of several models stands in several lines, and once in the total."
    },
    "inputs": _COUNT | {"description": "Inputs that were answered."},
    "cached_inputs": _COUNT | {"description": "Inputs that a cache answered."},
    "units": _COUNT,
    "saved_units": _COUNT | {"description": "What cached answers would have cost more, had they been computed."},
    "cache_hit_ratio": {
        "type": ["number", "null"],
        "minimum": 0,
        "maximum": 1,
        "description": "Cached inputs of all inputs; null without inputs.",
    },
}
_LIMIT: Final[dict[str, Schema]] = {
    "name": {"type": "string", "description": "As in the RateLimit header."},
    "kind": {"type": "string", "enum": [kind.value for kind in LimitKind]},
    "counts": {"type": "string", "enum": ["units", "requests"]},
    "scope": {"type": "string", "enum": ["tenant", "key", "model"], "description": "Who shares it."},
    "model": {"type": ["string", "null"], "description": "The model that it limits, if only one."},
    "amount": _COUNT | {"description": "Capacity of a bucket, quota of a window or month, or requests at a time."},
    "set_by": {"type": "string", "examples": ["plan Pro"]},
    "remaining": _COUNT,
}


def _object(properties: dict[str, Schema]) -> Schema:
    return {"type": "object", "required": list(properties), "properties": properties}


SCHEMAS: Final[dict[str, Schema]] = {
    "UsageLine": _object(_NUMBERS)
    | {
        "description": "Sums of one day, model, key, API version or operation.",
        "properties": {grouping: {"type": "string"} for grouping in get_args(Grouping)}
        | {
            "model": {
                "type": "string",
                "description": "Empty for what belongs to no model: fees of calls, points of GraphQL.",
            },
            "what": {
                "type": "string",
                "description": "By model: the model, or `(call fee)` where it is empty, as the CSV has it.",
            },
        }
        | _NUMBERS,
    },
    "Usage": _object(
        {
            "from": _DAY,
            "to": _DAY,
            "by": {"type": "string", "enum": list(get_args(Grouping))},
            "lines": {"type": "array", "items": ref("UsageLine")},
            "total": _object(_NUMBERS) | {"description": "Of all; each call once."},
        }
    ),
    "LimitNow": _object(
        _LIMIT
        | {
            "window_s": {"type": ["integer", "null"], "description": "Length of a fixed or sliding window."},
            "refill_per_s": {"type": ["number", "null"], "description": "What a token bucket gains a second."},
            "whole_again_in_s": _SECONDS,
        }
    ),
    "Limits": _object(
        {"plan": {"type": ["string", "null"]}, "limits": {"type": "array", "items": ref("LimitNow")}},
    ),
    "LimitThen": _object(
        _LIMIT
        | {
            "asked": _COUNT | {"description": "What the call would have taken from it."},
            "refused": {"type": "boolean"},
            "would_have_passed_after_s": {
                "type": ["number", "null"],
                "description": "0 for a limit that did not refuse; null when the call can never pass.",
            },
        }
    ),
    "Refusal": _object(
        {
            "request_id": {"type": "string"},
            "refused_at": {"type": "string", "format": "date-time"},
            "would_have_passed_at": {"type": ["string", "null"], "format": "date-time"},
            "limits": {"type": "array", "items": ref("LimitThen")},
        }
    ),
    "Me": _object(
        {
            "tenant": _object(
                {
                    "slug": {"type": "string"},
                    "name": {"type": "string"},
                    "default_model": {"type": ["string", "null"]},
                }
            ),
            "key": _object(
                {
                    "id": {"type": "string"},
                    "name": {"type": "string"},
                    "mode": {"type": "string", "enum": ["live", "test"]},
                    "scopes": {"type": "array", "items": {"type": "string", "enum": list(SCOPES)}},
                    "allowed_models": {"type": ["array", "null"], "items": {"type": "string"}},
                    "allowed_networks": {"type": ["array", "null"], "items": {"type": "string"}},
                    "pinned_api_version": {"oneOf": [API_VERSION_NAME, {"type": "null"}]},
                    "valid_until": {"type": ["string", "null"], "format": "date-time"},
                }
            ),
            "plan": {"type": ["string", "null"]},
        }
    ),
}
