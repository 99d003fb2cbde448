"""Arguments and input objects that come from messages (``tenants/http/messages.py``), so that each is declared once."""

from collections.abc import Mapping
from typing import Any, Final

import graphene
import msgspec

from tenants.http import messages
from tenants.http.json_schemas import Schema, component
from tenants.http.messages import M, Message

_SCALARS: Final = {
    "boolean": graphene.Boolean,
    "integer": graphene.Int,
    "number": graphene.Float,
    "string": graphene.String,
}


def arguments(message: type[Message]) -> dict[str, Any]:
    """The fields of a message as arguments of a field, by their Python names; the schema writes them in camel case."""
    schema = component(message)
    return {
        field.name: _unmounted(schema["properties"][field.encode_name], required=field.required)
        for field in msgspec.structs.fields(message)
    }


def input_object(message: type[Message]) -> Any:
    """The message as an input object of its own name."""
    return type(message.__name__, (graphene.InputObjectType,), {**arguments(message), "__doc__": message.__doc__})


def read(given: Mapping[str, Any], message: type[M], *, path: str = "") -> M:
    """What a call gave for :func:`arguments`. Raises INVALID_INPUT that names the argument; null is absent."""
    names = {field.name: field.encode_name for field in msgspec.structs.fields(message)}
    return messages.read({names[name]: value for name, value in given.items()}, message, path=path)


def _unmounted(schema: Schema, *, required: bool) -> Any:
    told = {"required": required, "description": schema.get("description")}
    if schema["type"] == "array":
        return graphene.List(graphene.NonNull(_SCALARS[schema["items"]["type"]]), **told)
    return _SCALARS[schema["type"]](**told)
