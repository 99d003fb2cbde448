"""What an operation costs before it runs: points, predictions and fields, on the document with its fragments expanded.

The sums are linear, so each fragment is added up once and multiplied where it is used: a document whose expansion has
billions of fields is refused in the time that its text takes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, cast

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLField,
    GraphQLNamedType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    get_introspection_query,
    get_named_type,
    parse,
)
from graphql.execution.collect_fields import should_include_node
from graphql.execution.execute import get_field_def
from graphql.execution.values import get_argument_values

from billing import pricing
from mlplatform.graphql import declarations
from mlplatform.graphql.declarations import Declarations
from mlplatform.lib.errors import PlatformError
from mlplatform.lib.graphql_cost import FieldCost

FIELDS_A_POINT: Final = 5
"""An answer may have this many fields for each point that a query may cost, for what is free is not endless."""
INTROSPECTIONS: Final = 2
"""How many times as much as the usual tools one operation may ask of the schema."""
INTROSPECTED_A_POINT: Final = 1_000
"""So much of the schema is answered for a point: it takes time, though it reads nothing."""
_ENOUGH: Final = 10**15
_INTROSPECTION: Final = frozenset({"__schema", "__type"})


@dataclass(frozen=True, slots=True)
class Cost:
    """``points`` for what is read, ``units`` of the predictions at their uncached prices, ``fields`` of the answer, and
    ``introspected`` of them that are about the schema; all at most, if every list is as long as it may be."""

    points: int = 0
    units: int = 0
    fields: int = 0
    introspected: int = 0

    @property
    def schema_points(self) -> int:
        """What is asked of the schema, as points."""
        return self.introspected // INTROSPECTED_A_POINT

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            min(_ENOUGH, self.points + other.points),
            min(_ENOUGH, self.units + other.units),
            min(_ENOUGH, self.fields + other.fields),
            min(_ENOUGH, self.introspected + other.introspected),
        )

    def times(self, number: int) -> "Cost":
        return Cost(
            min(_ENOUGH, self.points * number),
            min(_ENOUGH, self.units * number),
            min(_ENOUGH, self.fields * number),
            min(_ENOUGH, self.introspected * number),
        )


def of_operation(
    schema: GraphQLSchema,
    operation: OperationDefinitionNode,
    fragments: Mapping[str, FragmentDefinitionNode],
    variables: dict[str, Any],
    *,
    meter_of: Callable[[str], str],
) -> Cost:
    """The cost of a valid operation with these coerced variables. ``meter_of`` tells by what name prices know the model that a
    call names so, or does not name at all."""
    root = schema.get_root_type(operation.operation)
    if root is None:
        return Cost()
    adding = _Adding(schema, declarations.of(schema), fragments, variables, meter_of)
    return adding.selections(root, operation.selection_set, free=False)


@lru_cache(maxsize=8)
def usual_introspection(schema: GraphQLSchema) -> int:
    """How many fields the introspection of the usual tools has on this schema, added up as any other."""
    document = parse(get_introspection_query(input_value_deprecation=True))
    fragments = {one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)}
    operation = next(one for one in document.definitions if isinstance(one, OperationDefinitionNode))
    return of_operation(schema, operation, fragments, {}, meter_of=str).introspected


def root_fields(
    operation: OperationDefinitionNode,
    fragments: Mapping[str, FragmentDefinitionNode],
    variables: dict[str, Any],
) -> set[str]:
    """The names of the fields at the root, wherever they stand."""
    names: set[str] = set()
    seen: set[str] = set()
    left = [operation.selection_set]
    while left:
        for one in left.pop().selections:
            if not _included(variables, one):
                continue
            if isinstance(one, FieldNode):
                names.add(one.name.value)
            elif isinstance(one, InlineFragmentNode):
                left.append(one.selection_set)
            elif isinstance(one, FragmentSpreadNode) and one.name.value not in seen:
                seen.add(one.name.value)
                left.append(fragments[one.name.value].selection_set)
    return names


class _Adding:
    def __init__(
        self,
        schema: GraphQLSchema,
        declared: Declarations,
        fragments: Mapping[str, FragmentDefinitionNode],
        variables: dict[str, Any],
        meter_of: Callable[[str], str],
    ) -> None:
        self._schema = schema
        self._declared = declared
        self._fragments = fragments
        self._variables = variables
        self._meter_of = meter_of
        self._known: dict[tuple[str, bool], Cost] = {}

    def selections(self, parent: GraphQLNamedType, selection_set: SelectionSetNode, *, free: bool) -> Cost:
        total = Cost()
        for one in selection_set.selections:
            if not _included(self._variables, one):
                continue
            if isinstance(one, FieldNode):
                total += self._field(parent, one, free=free)
            elif isinstance(one, InlineFragmentNode):
                condition = one.type_condition
                type_ = self._type(condition.name.value) if condition is not None else parent
                total += self.selections(type_, one.selection_set, free=free)
            elif isinstance(one, FragmentSpreadNode):
                total += self._fragment(one.name.value, free=free)
        return total

    def _fragment(self, name: str, *, free: bool) -> Cost:
        known = self._known.get((name, free))
        if known is None:
            node = self._fragments[name]
            type_ = self._type(node.type_condition.name.value)
            known = self._known[name, free] = self.selections(type_, node.selection_set, free=free)
        return known

    def _type(self, name: str) -> GraphQLNamedType:
        return self._schema.type_map[name]

    def _field(self, parent: GraphQLNamedType, node: FieldNode, *, free: bool) -> Cost:
        # Interfaces have fields as objects have; unions have only __typename.
        field = get_field_def(self._schema, parent, node) if hasattr(parent, "fields") else None  # type: ignore[arg-type]
        if field is None:
            return Cost(fields=1)
        name = node.name.value
        declared = self._declared.of_field(parent, name)
        arguments = self._arguments(field, node) if declared.multiplier or declared.predicts else {}
        own = Cost(points=0 if free or declared.predicts else declared.complexity, fields=1)
        if declared.predicts is not None:
            own += Cost(units=self._predictions(declared, arguments))
        if node.selection_set is None:
            return own
        below = self.selections(
            get_named_type(field.type),
            node.selection_set,
            free=free or declared.free_below or declared.predicts is not None,
        )
        if name in _INTROSPECTION:
            below = Cost(introspected=min(_ENOUGH, below.fields + below.introspected))
        return own + below.times(_times(declared, arguments))

    def _arguments(self, field: GraphQLField, node: FieldNode) -> dict[str, Any]:
        try:
            return get_argument_values(field, node, self._variables)
        except GraphQLError:
            # The field will say so itself, and resolve nothing.
            return {}

    def _predictions(self, declared: FieldCost, arguments: Mapping[str, Any]) -> int:
        assert declared.predicts is not None  # noqa: S101 - the caller asks for no others
        meter_of = str if declared.on_sale else self._meter_of
        try:
            calls = declared.predicts(arguments)
        except (PlatformError, KeyError):
            return 0  # as above
        return sum(_call(operation, [meter_of(model) for model in models]) for operation, models in calls)


def _call(operation: str, meters: Sequence[str]) -> int:
    fee = pricing.call_fee(operation=operation, models=set(meters))
    return fee + sum(pricing.tariff(operation=operation, model=name).per_input for name in meters)


def _included(variables: dict[str, Any], one: SelectionNode) -> bool:
    """Whether @skip and @include leave it in."""
    return should_include_node(variables, cast(FieldNode | InlineFragmentNode | FragmentSpreadNode, one))


def _times(declared: FieldCost, arguments: Mapping[str, Any]) -> int:
    values = (arguments.get(name) for name in declared.multiplier.split())
    given = next((value for value in values if value is not None), None)
    if isinstance(given, Iterable) and not isinstance(given, str):
        return len(list(given))
    if isinstance(given, int):
        return max(0, given)
    return declared.assumed
