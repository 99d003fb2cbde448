"""JSON Schemas of messages and answers: what the OpenAPI documents say of them comes from their declarations.

A class becomes a component of the document under its own name, with its docstring as description.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeAlias, get_args

import msgspec
from msgspec import Meta

Schema: TypeAlias = dict[str, Any]
"""A JSON Schema as it stands in the document."""
Struct: TypeAlias = type[msgspec.Struct]
Shape: TypeAlias = Struct | tuple[Struct, ...] | Schema
"""What a body is: of a class, of any of several, or by a schema of its own."""

COMPONENTS: Final = "#/components/schemas/"
_NULL: Final[Schema] = {"type": "null"}
_NAMED: Final = "named"


def one_of(values: Iterable[str]) -> Meta:
    """One of these texts, in the order that the document shall have: ``Annotated[str, one_of(…)]``."""
    return Meta(extra_json_schema={"enum": list(values)})


def any_of(*shapes: Struct | Schema) -> Meta:
    """What has any of these shapes, which msgspec cannot tell apart: ``Annotated[Any, any_of(…)]``."""
    schemas = [schema_of(one) for one in shapes]
    return Meta(extra_json_schema={"anyOf": schemas}, extra={_NAMED: [one for one in shapes if isinstance(one, type)]})


def schema_of(shape: Shape) -> Schema:
    """The schema of a body: classes are references to their components."""
    if isinstance(shape, dict):
        return shape
    if isinstance(shape, tuple):
        return {"anyOf": [schema_of(one) for one in shape]}
    return {"$ref": f"{COMPONENTS}{shape.__name__}"}


def field_schema(kind: Any) -> Schema:
    """The schema of the type of a field, such as ``Annotated[int, Meta(ge=1)]``."""
    schemas, _ = msgspec.json.schema_components([kind], ref_template=f"{COMPONENTS}{{name}}")
    return _plain(schemas[0])


def components(shapes: Iterable[Shape]) -> dict[str, Schema]:
    """The components of all classes in ``shapes``, and of those inside them. Raises ValueError for two classes of one name."""
    found: dict[str, Struct] = {}
    waiting = [one for shape in shapes for one in _classes(shape)]
    while waiting:
        one = waiting.pop()
        if found.setdefault(one.__name__, one) is not one:
            raise ValueError(f"Two classes want to be the component {one.__name__}: {one}, {found[one.__name__]}.")
        inside = (inner for field in msgspec.structs.fields(one) for inner in _all_in(field.type))
        waiting.extend(inner for inner in inside if found.get(inner.__name__) is not inner)
    return {name: component(one) for name, one in found.items()}


def component(struct: Struct) -> Schema:
    """The schema of one class. That what a call may leave out may be null too is said by ``mlplatform/docs/nulls.py``."""
    made: Schema = msgspec.json.schema_components([struct], ref_template=f"{COMPONENTS}{{name}}")[1][struct.__name__]
    sent = made.get("additionalProperties") is False
    properties = {name: _sent(one) if sent else _plain(one) for name, one in made["properties"].items()}
    kept = {name: value for name, value in made.items() if name != "title" and value != []}
    return kept | {"properties": properties} | getattr(struct, "more", {})


def structs_in(kind: Any) -> Iterator[Struct]:
    """The classes that the type of a field names."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
    for part in get_args(kind):
        yield from structs_in(part)


def _all_in(kind: Any) -> Iterator[Struct]:
    """The same, and those that :func:`any_of` names."""
    yield from structs_in(kind)
    if isinstance(kind, Meta):
        yield from (kind.extra or {}).get(_NAMED, ())
    for part in get_args(kind):
        yield from _all_in(part)


def _without_null(schema: Schema) -> Schema:
    """What a schema admits beside null."""
    if _NULL not in schema.get("anyOf", ()):
        return schema
    (one,) = [one for one in schema["anyOf"] if one != _NULL]
    return {**one, **{name: value for name, value in schema.items() if name != "anyOf"}}


def _sent(schema: Schema) -> Schema:
    """Without null, and without a default that says no more than that the field may be absent."""
    plain = _without_null(schema)
    default = plain.get("default")
    empty = default in (None, "") or isinstance(default, list | tuple | dict)
    return {name: value for name, value in plain.items() if name != "default" or not empty}


def _plain(schema: Schema) -> Schema:
    """``anyOf`` a type and null as one list of types."""
    if isinstance(schema.get("items"), dict):
        schema = schema | {"items": _plain(schema["items"])}
    if _NULL not in schema.get("anyOf", ()):
        return schema
    one = _without_null(schema)
    if "type" not in one:
        return schema
    values = {"enum": [*one["enum"], None]} if "enum" in one else {}
    return one | {"type": [one["type"], "null"]} | values


def _classes(shape: Shape) -> Iterable[Struct]:
    return () if isinstance(shape, dict) else shape if isinstance(shape, tuple) else (shape,)
