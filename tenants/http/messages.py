"""Messages that calls send, each declared once: a :class:`Message` reads the body, and is its JSON Schema in OpenAPI.

Bodies come here from ``mlplatform.lib.strict_json``. Null is absent: many clients send it for what they do not say.
"""

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

import msgspec

from mlplatform.lib import strict_json
from mlplatform.lib.errors import invalid

Schema = dict[str, Any]


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A JSON object of plain fields. A field that may be absent and has no value then is ``… | None = None``."""


class EmptyRequest(Message, frozen=True):
    """Nothing: the address says it all."""


M = TypeVar("M", bound=Message)


def read(body: Mapping[str, Any], message: type[M]) -> M:
    """The body as a message. Raises INVALID_INPUT that names the field: one that is unknown, missing, or not what it must be."""
    declared = msgspec.structs.fields(message)
    said = only(body, [field.encode_name for field in declared])
    for field in declared:
        if field.required:
            required(said, field.encode_name)
    try:
        return msgspec.convert(said, message)
    except msgspec.ValidationError as error:
        name = str(error).rpartition("`$.")[2].rstrip("`")
        must = _in_words(json_schema(message)["properties"][name])
        raise invalid(name, f"The field {name!r} is {must}.") from error


def json_schema(message: type[Message]) -> Schema:
    """The message's JSON Schema, without titles, and without null: the documents admit it wherever a field may be absent."""
    schema: Schema = msgspec.json.schema_components([message])[1][message.__name__]
    properties = {name: _without_null(one) for name, one in schema["properties"].items()}
    kept = {name: value for name, value in schema.items() if name not in {"title", "description"}}
    if not kept["required"]:
        del kept["required"]
    return kept | {"properties": properties}


def only(body: Mapping[str, Any], known: Collection[str], *, path: str = "") -> Mapping[str, Any]:
    """What the body says, without fields that are null: all else is to be read from it.

    Raises INVALID_INPUT for a field that is not known: silently ignoring it would hide a typo.
    """
    for name in body:
        if name not in known:
            there_are = f"there are {', '.join(sorted(known))}" if known else "this body has none"
            raise invalid(f"{path}{name}", f"Unknown field {name[:64]!r}; {there_are}.")
    return strict_json.present(body)


def required(body: Mapping[str, Any], name: str, *, path: str = "") -> Any:
    """The field's value. Raises INVALID_INPUT when it is missing."""
    if name not in body:
        raise invalid(f"{path}{name}", f"The field {name!r} is missing.")
    return body[name]


def _without_null(schema: Schema) -> Schema:
    if "anyOf" not in schema:
        return schema
    present: Schema
    (present,) = [one for one in schema["anyOf"] if one != {"type": "null"}]
    return present


def _in_words(schema: Schema) -> str:
    """What a field must be, such as ``a whole number from 1 to 100``."""
    kind = {"integer": "a whole number", "number": "a number", "string": "text", "boolean": "true or false"}[
        schema["type"]
    ]
    if "minimum" in schema:
        return f"{kind} from {schema['minimum']:,} to {schema['maximum']:,}"
    if "minLength" in schema:
        return f"{kind} of {schema['minLength']} to {schema['maxLength']} characters"
    return kind
