"""Null is absent: every field that a JSON body may leave out may be null in it, and the documents say so.

Declarations name what a field holds; that it may be null as well is one rule for all of them, which stands here.
"""

from typing import Any, Final

Schema = dict[str, Any]

_COMPONENTS: Final = "#/components/schemas/"
_NULL: Final[Schema] = {"type": "null"}


def admit_null(paths: Schema, schemas: Schema) -> None:
    """Have the optional fields of every JSON body that ``paths`` take admit null.

    Components of ``schemas`` are replaced, never changed in place; a component that an answer has too would say of answers
    what is true of calls alone, so none may be shared (a test holds that).
    """
    seen: set[str] = set()
    for operation in (operation for item in paths.values() for operation in item.values()):
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content is not None:
            content["schema"] = _nullable_inside(content["schema"], schemas, seen)


def _nullable_inside(schema: Schema, schemas: Schema, seen: set[str]) -> Schema:
    name = schema.get("$ref", "").removeprefix(_COMPONENTS)
    if name:
        if name not in seen:
            seen.add(name)
            schemas[name] = _nullable_inside(schemas[name], schemas, seen)
        return schema
    made = dict(schema)
    for keyword in ("anyOf", "oneOf", "allOf"):
        if keyword in made:
            made[keyword] = [_nullable_inside(one, schemas, seen) for one in made[keyword]]
    if isinstance(made.get("items"), dict):
        made["items"] = _nullable_inside(made["items"], schemas, seen)
    if "properties" in made:
        required = made.get("required", ())
        made["properties"] = {
            field: inner if field in required else _or_null(inner)
            for field, one in made["properties"].items()
            for inner in [_nullable_inside(one, schemas, seen)]
        }
    return made


def _or_null(schema: Schema) -> Schema:
    kind = schema.get("type")
    if "anyOf" in schema:
        known = _NULL in schema["anyOf"]
        return schema if known else {**schema, "anyOf": [*schema["anyOf"], _NULL]}
    if kind is None or "enum" in schema or "const" in schema:
        return {"anyOf": [schema, _NULL]}
    kinds = kind if isinstance(kind, list) else [kind]
    return schema if "null" in kinds else {**schema, "type": [*kinds, "null"]}
