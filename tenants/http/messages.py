"""Messages that calls send, each declared once: a :class:`Message` reads the body, and is its JSON Schema in OpenAPI.

Bodies come here from ``mlplatform.lib.strict_json``. Null is absent: many clients send it for what they do not say.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any, Final, TypeVar

import msgspec

from mlplatform.lib import strict_json
from mlplatform.lib.errors import invalid

Schema = dict[str, Any]

_COMPONENTS: Final = "#/components/schemas/"
_KINDS: Final = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "object": "an object",
    "string": "text",
}
_LENGTHS: Final = (("minLength", "maxLength", "characters"), ("minItems", "maxItems", "entries"))


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A JSON object. A field that may be absent and has no value then is ``… | None = None``."""


class EmptyRequest(Message, frozen=True):
    """Nothing: the address says it all."""


M = TypeVar("M", bound=Message)


def read(body: Mapping[str, Any], message: type[M], *, path: str = "") -> M:
    """The body as a message; ``path`` is where it stands in its call, such as ``users[3].``.

    Raises INVALID_INPUT that names the field: one that is unknown, missing, or not what it must be.
    """
    said = _said(body, message, path)
    try:
        return msgspec.convert(said, message)
    except msgspec.ValidationError as error:
        place = str(error).rpartition("`$.")[2].rstrip("`")
        raise invalid(f"{path}{place}", _refusal(message, said, place)) from error


def json_schema(message: type[Message]) -> Schema:
    """The message's JSON Schema, without titles, and without null: the documents admit it wherever a field may be absent.

    Messages inside it are references to the document's components, by the names of their classes.
    """
    schema: Schema = _schemas(message)[message.__name__]
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


def _said(body: Mapping[str, Any], message: type[Message], path: str) -> Schema:
    """What the body says, here and in the messages inside it, once every field is known and none is missing."""
    declared = msgspec.structs.fields(message)
    said = dict(only(body, [field.encode_name for field in declared], path=path))
    for field in declared:
        name = field.encode_name
        if field.required:
            required(said, name, path=path)
        inner = said.get(name)
        if isinstance(field.type, type) and issubclass(field.type, Message) and isinstance(inner, dict):
            said[name] = _said(inner, field.type, f"{path}{name}.")
    return said


def _schemas(message: type[Message]) -> Schema:
    schemas: Schema = msgspec.json.schema_components([message], ref_template=f"{_COMPONENTS}{{name}}")[1]
    return schemas


def _without_null(schema: Schema) -> Schema:
    if "anyOf" in schema:
        (schema,) = [one for one in schema["anyOf"] if one != {"type": "null"}]
    # An empty default says no more than that the field may be absent.
    empty = schema.get("default") == "" or isinstance(schema.get("default"), list | tuple | dict)
    return {name: value for name, value in schema.items() if name != "default" or not empty}


def _refusal(message: type[Message], said: Any, place: str) -> str:
    """Why the value at a place such as ``preferences.categories[0]`` is refused, and what it must be."""
    schemas = _schemas(message)
    schema, value, step = schemas[message.__name__], said, ""
    for step in re.findall(r"[^.\[\]]+", place):
        index = int(step) if schema.get("type") == "array" else step
        schema, value = schema["items"] if isinstance(index, int) else schema["properties"][step], value[index]
        (schema,) = [one for one in schema.get("anyOf", [schema]) if one != {"type": "null"}]
        schema = schemas.get(schema.get("$ref", "").removeprefix(_COMPONENTS), schema)
    return f"The field {place.rpartition('.')[2]!r} is {_in_words(schema)}{_length(schema, value)}."


def _in_words(schema: Schema) -> str:
    """What a field must be, such as ``a whole number from 1 to 100``."""
    kind = _KINDS[schema["type"]]
    if "minimum" in schema or "maximum" in schema:
        return f"{kind} {_between(schema.get('minimum'), schema.get('maximum'), 'from ')}"
    for least, most, unit in _LENGTHS:
        if least in schema or most in schema:
            return f"{kind} of {_between(schema.get(least), schema.get(most))} {unit}"
    return kind


def _between(least: float | None, most: float | None, word: str = "") -> str:
    if least is None:
        return f"at most {most:,}"
    return f"at least {least:,}" if most is None else f"{word}{least:,} to {most:,}"


def _length(schema: Schema, value: Any) -> str:
    """How long a value is of which only the length is wrong."""
    right = {"string": str, "array": list}.get(schema["type"])
    return f"; it has {len(value):,}" if right is not None and isinstance(value, right) else ""
