"""OpenAPI of rollouts: subclasses of the views that answer, which only declare.

See ``tenants/rest/openapi.py``.
"""

from typing import Any, Final

from django.urls import path
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema_view

from inference.models import PromotionReason
from inference.rest import rollouts
from inference.rest.schema_components import COUNT
from mlplatform.lib.errors import ErrorKind
from tenants.rest.openapi import Schema, describe, ref

_TAG: Final = "Rollouts"
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

_MODEL: Final = OpenApiParameter(
    "model", {"type": "string"}, OpenApiParameter.PATH, description="The model's name, without a version."
)
_WRITE: Final = (
    "Needs the scope `models:write`, of a key of the tenant that owns the model or of an operator. Costs nothing."
)
_BODY_KINDS: Final = (ErrorKind.PAYLOAD_TOO_LARGE, ErrorKind.UNSUPPORTED_MEDIA_TYPE, ErrorKind.INVALID_INPUT)
_ALL_KINDS: Final = (*_BODY_KINDS, ErrorKind.CONFLICT)


def _posted(id: str, summary: str, description: str, request: str, *examples: dict[str, Any]) -> Any:  # noqa: A002
    named = [
        OpenApiExample(f"Example {number}", value=one, request_only=True) for number, one in enumerate(examples, 1)
    ]
    return describe(
        id=id,
        tag=_TAG,
        summary=summary,
        description=f"{description} {_WRITE}",
        request=ref(request),
        answer=ref("Rollouts"),
        kinds=_ALL_KINDS,
        parameters=[] if id == "updateModel" else [_MODEL],
        examples=named,
    )


def _deleted(id: str, summary: str) -> Any:  # noqa: A002
    return describe(
        id=id,
        tag=_TAG,
        summary=summary,
        description=f"At once; where none runs, nothing changes. {_WRITE}",
        answer=ref("Rollouts"),
        parameters=[_MODEL],
    )


@extend_schema_view(
    get=describe(
        id="getRollouts",
        tag=_TAG,
        summary="What is live and what is tried",
        description=f"The live version, the running canary and shadow with what was observed, and the history. {_WRITE}",
        answer=ref("Rollouts"),
        parameters=[_MODEL],
    )
)
class Rollouts(rollouts.RolloutsView):
    """Declared, not served."""


@extend_schema_view(
    post=_posted(
        "promoteVersion",
        "Promote a version",
        "From now on the ready version answers every call that names the model alone. No call fails, and each answer names "
        "the version that gave it. Where no worker holds the version any more, one is asked to load it, and this answers 409: "
        "send it again in some seconds.",
        "PromoteRequest",
        {"version": "2.0.0"},
    )
)
class Promote(rollouts.PromoteView):
    """Declared, not served."""


@extend_schema_view(
    post=_posted(
        "rollBack",
        "Roll back",
        "Make that version live again which was live before. Two in a row go back two promotions.",
        "EmptyRequest",
        {},
    )
)
class Rollback(rollouts.RollbackView):
    """Declared, not served."""


@extend_schema_view(
    post=_posted(
        "startCanary",
        "Start or change a canary",
        "Let a ready version answer a share of the tenants, always the same ones. It ends by itself when it breaks a bound.",
        "CanaryRequest",
        {"version": "2.0.0", "percent": 5},
    ),
    delete=_deleted("stopCanary", "Stop the canary"),
)
class CanaryOf(rollouts.CanaryView):
    """Declared, not served."""


@extend_schema_view(
    post=_posted(
        "startShadow",
        "Start or change a shadow",
        "Compute a share of the inputs once more with a ready version and compare the answers. Nobody's answer changes, and "
        "nothing is charged.",
        "ShadowRequest",
        {"version": "2.0.0", "percent": 10},
    ),
    delete=_deleted("stopShadow", "Stop the shadow"),
)
class ShadowOf(rollouts.ShadowView):
    """Declared, not served."""


@extend_schema_view(
    post=_posted(
        "purgeModel", "Purge the cache", "Forget every cached answer of the model's versions.", "EmptyRequest", {}
    )
)
class Purge(rollouts.PurgeView):
    """Declared, not served."""


@extend_schema_view(
    post=_posted(
        "updateModel",
        "Promote and purge",
        "Promote a version and forget every cached answer of the model, both or neither.",
        "UpdateModelRequest",
        {"model": "sentiment", "version": "2.0.0"},
    )
)
class UpdateModel(rollouts.UpdateModelView):
    """Declared, not served."""


v2 = [
    path("models/<str:model>/rollouts", Rollouts.as_view()),
    path("models/<str:model>/promote", Promote.as_view()),
    path("models/<str:model>/rollback", Rollback.as_view()),
    path("models/<str:model>/canary", CanaryOf.as_view()),
    path("models/<str:model>/shadow", ShadowOf.as_view()),
    path("models/<str:model>/purge", Purge.as_view()),
    path("admin/update-model", UpdateModel.as_view()),
]
