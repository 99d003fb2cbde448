"""The declared costs and scopes of a built schema, by type and field."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from graphql import (
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    get_named_type,
    is_composite_type,
)

from mlplatform.lib.graphql_cost import FieldCost, declared

EXTENSION: Final = "cost"
"""Where a schema that was not made with graphene declares the cost of a field: in the field's extensions."""

_FREE: Final = FieldCost(complexity=0)
_NODE: Final = FieldCost(complexity=1)
_SYSTEM: Final = "__"


@dataclass(frozen=True, slots=True)
class Declarations:
    """``fields`` has an entry for every field that costs anything or asks for a scope."""

    fields: dict[tuple[str, str], FieldCost]

    def of_field(self, parent: GraphQLNamedType, name: str) -> FieldCost:
        """The cost of a field of this type; what was not declared costs nothing."""
        return self.fields.get((parent.name, name), _FREE)


@lru_cache(maxsize=8)
def of(schema: GraphQLSchema) -> Declarations:
    """Every declaration of a schema. Scalars cost nothing and what holds others one point, unless it was declared."""
    found: dict[tuple[str, str], FieldCost] = {}
    for type_ in schema.type_map.values():
        if not isinstance(type_, GraphQLObjectType | GraphQLInterfaceType):
            continue
        introspective = type_.name.startswith(_SYSTEM)
        written = _declared_in_graphene(type_)
        for name, field in type_.fields.items():
            if introspective:
                found[type_.name, name] = FieldCost(complexity=0, assumed=_length(schema, type_.name, name))
                continue
            cost = written.get(name) or field.extensions.get(EXTENSION) or _default(type_, name, field)
            if cost is not _FREE:
                found[type_.name, name] = cost
    return Declarations(found)


def _declared_in_graphene(type_: GraphQLNamedType) -> dict[str, FieldCost]:
    """graphene makes new fields for the schema and drops what it does not know, so its own are asked."""
    graphene_type = getattr(type_, "graphene_type", None)
    if graphene_type is None:
        return {}
    found = {}
    for name, field in graphene_type._meta.fields.items():
        cost = declared(field)
        if cost is not None:
            found[field.name or _camel_case(name)] = cost
    return found


def _camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(part.capitalize() if part else "_" for part in others)


def _default(parent: GraphQLNamedType, name: str, field: GraphQLField) -> FieldCost:
    type_ = get_named_type(field.type)
    wraps = name == "edges" and parent.name.endswith("Connection")
    if wraps or type_.name == "PageInfo" or not is_composite_type(type_):
        return _FREE
    return _NODE


def _length(schema: GraphQLSchema, type_name: str, name: str) -> int:
    """How long the lists are that the schema tells about itself: as in this schema, or on average."""
    holders = [type_ for type_ in schema.type_map.values() if isinstance(type_, GraphQLObjectType)]
    fields = sum(len(type_.fields) for type_ in holders)
    if (type_name, name) == ("__Schema", "types"):
        return len(schema.type_map)
    if (type_name, name) == ("__Type", "fields"):
        return 1 + fields // max(1, len(holders))
    return {"directives": len(schema.directives), "enumValues": 4, "inputFields": 4}.get(name, 1)
