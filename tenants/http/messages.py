"""Messages that calls send, each declared once: a :class:`Message` reads the body, and is its JSON Schema in OpenAPI.

Bodies come here from ``mlplatform.lib.strict_json``. Null is absent: many clients send it for what they do not say.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, TypeVar, get_args

import msgspec

from mlplatform.lib import strict_json
from mlplatform.lib.errors import PlatformError, invalid
from tenants.http.json_schemas import COMPONENTS, Schema, components, structs_in

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
    """A JSON object. A field that may be absent and has no value then is ``… | None = None``.

    A required field of any type (``Any``) belongs into messages that are read by themselves: what is inside another one cannot
    tell its null from a value.
    """


class EmptyRequest(Message, frozen=True):
    """Nothing: the address says it all."""


M = TypeVar("M", bound=Message)


def read(body: Any, message: type[M], *, path: str = "") -> M:
    """The body as a message; ``path`` is where it stands in its call, such as ``users[3].``.

    Raises INVALID_INPUT that names the field: one that is unknown, missing, or not what it must be.
    """
    try:
        said = msgspec.convert(body, message)
    except msgspec.ValidationError:
        return _read_slowly(body, message, path)  # Perhaps of a null; and msgspec does not say what the field must be.
    for name in _of_any_type(message):
        if getattr(said, name) is None:
            return _read_slowly(body, message, path)
    return said


def entries(body: Mapping[str, Any], message: type[Message], name: str) -> Iterator[tuple[Any, str]]:
    """What stands in the message's list ``name``, as it came, and where, such as ``requests[3].``: for entries that fail alone.

    Raises INVALID_INPUT for a body that is not the message, whatever is in the list.
    """
    said = only(body, message.__struct_encode_fields__)
    values, schema = required(said, name), _schemas(message)[message.__name__]["properties"][name]
    if not isinstance(values, list) or not schema["minItems"] <= len(values) <= schema["maxItems"]:
        raise _wrong(name, schema, values)
    return ((value, f"{name}[{index}].") for index, value in enumerate(values))


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


def _read_slowly(body: Any, message: type[M], path: str) -> M:
    """The same step by step: without what is null, and with the reason of a refusal."""
    if not isinstance(body, dict):
        raise _wrong(path.rstrip("."), {"type": "object"}, body)
    said = _said(body, message, path)
    try:
        return msgspec.convert(said, message)
    except msgspec.ValidationError as error:
        place = str(error).rpartition("`$.")[2].rstrip("`")
        raise _refusal(message, said, place, path) from error


def _said(body: Mapping[str, Any], message: type[Message], path: str) -> Schema:
    """What the body says, here and in the messages inside it, once every field is known and none is missing."""
    said = dict(only(body, message.__struct_encode_fields__, path=path))
    for field in _fields(message):
        name = field.encode_name
        if field.required:
            required(said, name, path=path)
        for inner in structs_in(field.type) if name in said else ():
            said[name] = _said_inside(said[name], inner, f"{path}{name}")
    return said


@lru_cache(maxsize=256)
def _fields(message: type[Message]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(message)


@lru_cache(maxsize=256)
def _of_any_type(message: type[Message]) -> tuple[str, ...]:
    """The required fields of which msgspec cannot tell that they are missing where they are null."""
    return tuple(
        field.name for field in _fields(message) if field.required and Any in (field.type, *get_args(field.type))
    )


def _said_inside(value: Any, message: Any, place: str) -> Any:
    if isinstance(value, list):
        return [_said_inside(one, message, f"{place}[{index}]") for index, one in enumerate(value)]
    return _said(value, message, f"{place}.") if isinstance(value, dict) else value


@lru_cache(maxsize=256)
def _schemas(message: type[Message]) -> dict[str, Schema]:
    return components([message])


def _refusal(message: type[Message], said: Any, place: str, path: str) -> PlatformError:
    """Why the value at a place such as ``preferences.categories[0]`` is refused, and what it must be."""
    schemas = _schemas(message)
    schema: Schema = schemas[message.__name__]
    value = said
    for step in re.findall(r"[^.\[\]]+", place):
        index = int(step) if schema.get("type") == "array" else step
        schema, value = schema["items"] if isinstance(index, int) else schema["properties"][step], value[index]
        if "$ref" in schema:
            schema = schemas[schema["$ref"].removeprefix(COMPONENTS)]
    return _wrong(f"{path}{place}", schema, value)


def _wrong(place: str, schema: Schema, value: Any) -> PlatformError:
    return invalid(place, f"The field {place.rpartition('.')[2]!r} is {_in_words(schema)}{_length(schema, value)}.")


def _in_words(schema: Schema) -> str:
    """What a field must be, such as ``a whole number from 1 to 100``."""
    if "enum" in schema:
        return f"one of {', '.join(map(repr, schema['enum']))}"
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
    right = {"string": str, "array": list}.get(schema.get("type", ""))
    return f"; it has {len(value):,}" if right is not None and isinstance(value, right) else ""
