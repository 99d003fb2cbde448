"""OpenAPI of pushed versions: subclasses of the views that answer, which only declare.

See ``tenants/rest/openapi.py``.
"""

from typing import Final

from django.urls import path
from drf_spectacular.utils import OpenApiParameter, extend_schema_view

from inference.models import VersionState
from inference.rest import packages
from inference.rest.schema_components import COUNT
from mlplatform.lib.errors import ErrorKind
from tenants.rest.openapi import Schema, describe, header, ref

_TAG: Final = "Rollouts"
_TEXT: Final[Schema] = {"type": "string"}
_PROPERTIES: Final[dict[str, Schema]] = {
    "model": _TEXT,
    "version": _TEXT,
    "state": {
        "type": "string",
        "enum": list(VersionState.values),
        "description": "`staged` until a worker has loaded it and its examples gave what they must; then `ready`.",
    },
    "load_error": {"type": ["string", "null"], "description": "Why no worker can serve it."},
    "task": _TEXT,
    "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    "size_bytes": COUNT,
    "created_at": {"type": "string", "format": "date-time"},
    "notices": {
        "type": "array",
        "items": _TEXT,
        "description": "Of a push: what to know of the model's name, such as that a model on sale has it too.",
    },
}
SCHEMAS: Final[dict[str, Schema]] = {
    "PushedVersion": {
        "type": "object",
        "required": [name for name in _PROPERTIES if name != "notices"],
        "properties": _PROPERTIES,
    }
}
_ZIP: Final[Schema] = {"type": "string", "contentMediaType": packages.ZIP, "format": "binary"}
_MODEL: Final = OpenApiParameter(
    "model", {"type": "string"}, OpenApiParameter.PATH, description="The model's name, without a version."
)
_VERSION: Final = OpenApiParameter("version", {"type": "string"}, OpenApiParameter.PATH, description="Such as `1.2.0`.")
_SCOPED: Final = "Needs the scope `models:write`, of a key of the tenant that owns the model or of an operator."


@extend_schema_view(
    post=describe(
        id="pushVersion",
        tag=_TAG,
        summary="Push a model version",
        description="A zip with `model.toml`, weights as safetensors, and tokenizer files: see `docs/serve-your-model.md`. It is "
        "checked before this answers; then a worker loads it and runs its examples. A model that does not exist becomes your "
        "tenant's private one. A tenant pushes one package at a time and only so many an hour: 429 says when to come again. "
        f"{_SCOPED}",
        bodies={
            packages.ZIP: _ZIP,
            packages.FORM: {"type": "object", "required": [packages.FIELD], "properties": {packages.FIELD: _ZIP}},
        },
        answer=ref("PushedVersion"),
        status=201,
        kinds=(
            ErrorKind.PAYLOAD_TOO_LARGE,
            ErrorKind.UNSUPPORTED_MEDIA_TYPE,
            ErrorKind.INVALID_INPUT,
            ErrorKind.CONFLICT,
            ErrorKind.OVERLOADED,
        ),
        parameters=[_MODEL, header("Location", "Where its state can be read.", _TEXT, codes=[201])],
    )
)
class Versions(packages.VersionsView):
    """Declared, not served."""


@extend_schema_view(
    get=describe(
        id="getVersion",
        tag=_TAG,
        summary="The state of a version",
        description=f"What became of a pushed version. {_SCOPED}",
        answer=ref("PushedVersion"),
        parameters=[_MODEL, _VERSION],
    )
)
class Version(packages.VersionView):
    """Declared, not served."""


@extend_schema_view(
    post=describe(
        id="retireVersion",
        tag=_TAG,
        summary="Retire a version",
        description="Stop answering calls that pin a staged or ready version, for good; answers with the version as it is then. "
        "A live one, one that is tried, and one that callers were promised by a schedule stay: 409 says what to do first. "
        f"{_SCOPED} Costs nothing.",
        request=ref("EmptyRequest"),
        answer=ref("PushedVersion"),
        kinds=(
            ErrorKind.PAYLOAD_TOO_LARGE,
            ErrorKind.UNSUPPORTED_MEDIA_TYPE,
            ErrorKind.INVALID_INPUT,
            ErrorKind.CONFLICT,
        ),
        parameters=[_MODEL, _VERSION],
    )
)
class Retire(packages.RetireView):
    """Declared, not served."""


v2 = [
    path("models/<str:model>/versions", Versions.as_view()),
    path("models/<str:model>/versions/<str:version>", Version.as_view()),
    path("models/<str:model>/versions/<str:version>/retire", Retire.as_view()),
]
