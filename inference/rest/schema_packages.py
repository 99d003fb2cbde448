"""JSON Schemas of pushed versions; ``packages.py`` refers to them by name."""

from typing import Final

from inference.models import VersionState
from inference.rest.schema_components import COUNT
from tenants.http.json_schemas import Schema

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
