"""JSON Schemas of deprecations and rehearsals; ``deprecations.py`` refers to them by name."""

from typing import Final

from inference.deprecations.notices.banners import Severity
from inference.models import RehearsalState, Verdict
from inference.rest import deprecations
from inference.rest.schema_components import COUNT
from tenants.deprecations.rules import State
from tenants.http.json_schemas import Schema
from tenants.http.json_schemas import component as json_schema
from tenants.models import SubjectKind
from tenants.rest.declarations import ref

_TEXT: Final[Schema] = {"type": "string"}
_MOMENT: Final[Schema] = {"type": "string", "format": "date-time"}
_MOMENT_OR_NONE: Final[Schema] = {"type": ["string", "null"], "format": "date-time"}
_NUMBER_OR_NONE: Final[Schema] = {"type": ["number", "null"]}
_COUNT_OR_NONE: Final[Schema] = {"type": ["integer", "null"], "minimum": 0}
_SHARE: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": 100}


def _object(properties: dict[str, Schema]) -> Schema:
    return {"type": "object", "required": list(properties), "properties": properties}


def _list(item: Schema) -> Schema:
    return {"type": "array", "items": item}


SCHEMAS: Final[dict[str, Schema]] = {
    "Brownout": _object(
        {
            "starts_at": _MOMENT,
            "ends_at": _MOMENT,
            "share": _SHARE | {"description": "Percent of the calls that fail."},
            "own": {"type": "boolean", "description": "Rehearsed by your tenant; else planned for everybody."},
        }
    ),
    "Banner": {
        "description": "What people of your tenant are shown now; null where there is nothing to say.",
        "oneOf": [
            _object(
                {
                    "severity": {"type": "string", "enum": [severity.value for severity in Severity]},
                    "title": _TEXT,
                    "text": _TEXT,
                }
            ),
            {"type": "null"},
        ],
    },
    "Deprecation": _object(
        {
            "id": {"type": "integer"},
            "kind": {"type": "string", "enum": list(SubjectKind.values)},
            "subject": {"type": "string", "description": "`v1`, or `sentiment@1.0.0`."},
            "state": {
                "type": "string",
                "enum": [state.value for state in State],
                "description": "Now, for your tenant.",
            },
            "successor": _TEXT,
            "guide": {"type": "string", "format": "uri"},
            "reason": _TEXT,
            "announced_at": _MOMENT,
            "deprecated_at": _MOMENT,
            "sunset_at": _MOMENT | {"description": "Everybody's."},
            "own_sunset_at": _MOMENT | {"description": "Your tenant's: later where it has an extension."},
            "use": _object({"days": COUNT, "calls": COUNT, "last_call_at": _MOMENT_OR_NONE})
            | {"description": "Your tenant's calls in the last days."},
            "brownouts": _list(ref("Brownout"))
            | {"description": "Of everybody and of your own; not those that ended."},
            "banner": ref("Banner"),
            "rehearsal": _object(
                {
                    "verdict": {
                        "type": "string",
                        "enum": [*Verdict.values, deprecations.NOT_REHEARSED],
                        "description": "Of the latest that was finished.",
                    },
                    "state": {
                        "type": ["string", "null"],
                        "enum": [*RehearsalState.values, None],
                        "description": "Of the latest.",
                    },
                }
            ),
        }
    ),
    "Deprecations": _object({"deprecations": _list(ref("Deprecation"))}),
    "BrownoutRequest": json_schema(deprecations.BrownoutRequest),
    "BrownoutStopped": _object({"stopped": COUNT | {"description": "How many were running."}}),
    "RehearsalRequest": json_schema(deprecations.RehearsalRequest),
    "RehearsalReport": _object(
        {
            "verdict": {"type": "string", "enum": list(Verdict.values)},
            "summary": _TEXT,
            "calls": COUNT | {"description": "Sampled calls that were replayed."},
            "failed": COUNT,
            "tolerance": {"type": "number", "description": "How far a score may move before it counts."},
            "failures": _list(_object({"kind": _TEXT, "detail": _TEXT, "field": _TEXT, "calls": COUNT})),
            "changes": _list(
                _object(
                    {
                        "part": {"type": "string", "enum": ["request", "answer"]},
                        "path": {"type": "string", "examples": ["predictions[].label"]},
                        "change": {"type": "string", "enum": ["added", "removed", "changed"]},
                        "before": {"type": "string", "description": "The shape, such as `text`."},
                        "after": _TEXT,
                        "calls": COUNT,
                    }
                )
            ),
            "differences": _list(
                _object(
                    {
                        "what": {"type": "string", "enum": ["label", "score", "unsayable"]},
                        "path": _TEXT,
                        "largest": _NUMBER_OR_NONE | {"description": "How far a score moved at most."},
                        "example": _TEXT,
                        "calls": COUNT,
                    }
                )
            ),
            "old_latency_ms": _NUMBER_OR_NONE | {"description": "Median; null where the old one does not answer."},
            "new_latency_ms": _NUMBER_OR_NONE,
            "old_units": _COUNT_OR_NONE | {"description": "What the calls would cost."},
            "new_units": _COUNT_OR_NONE,
        }
    ),
    "Rehearsal": _object(
        {
            "state": {"type": "string", "enum": list(RehearsalState.values)},
            "verdict": {"type": ["string", "null"], "enum": [*Verdict.values, None]},
            "error": {"type": ["string", "null"], "description": "Why it failed, or waits for another try."},
            "requested_at": _MOMENT,
            "finished_at": _MOMENT_OR_NONE,
            "report": {"oneOf": [ref("RehearsalReport"), {"type": "null"}]},
        }
    ),
}
