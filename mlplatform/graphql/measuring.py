"""The shape of a parsed document: depth, aliases, directives, fragments, fields that repeat. No schema is needed.

Each fragment is measured once, however often it is spread, so a document of fragments that spread each other twice
costs no more than its own length.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    StringValueNode,
    Visitor,
    visit,
)

from mlplatform.graphql.refusals import (
    FRAGMENT_CYCLE,
    PARSE_FAILED,
    TOO_DEEP,
    TOO_MANY_ALIASES,
    TOO_MANY_DIRECTIVES,
    TOO_MANY_FIELDS,
    TOO_MANY_FRAGMENTS,
    TOO_MANY_OPERATIONS,
    TOO_MANY_VARIABLES,
    Refusal,
    too_much,
)

MAX_INTROSPECTION_DEPTH: Final = 16
"""Below ``__schema`` and ``__type``: the usual tools ask for types of types of types, nine times."""
MAX_DIRECTIVES: Final = 60
MAX_DIRECTIVES_AT_ONE_PLACE: Final = 3
MAX_FRAGMENTS: Final = 40
MAX_SPREADS: Final = 80
MAX_REPEATS: Final = 12
"""How often the same field may be written in the whole document of one level: each pair of them is compared."""
MAX_SELECTIONS: Final = 400
MAX_VARIABLES: Final = 50
MAX_OPERATIONS: Final = 10
"""In one document, of which one is run: rules walk through the fragments of each."""
_MAX_LEVELS: Final = 100
_INTROSPECTION: Final = frozenset({"__schema", "__type"})


@dataclass(frozen=True, slots=True)
class Heights:
    """How deep a selection set is: in fields of data, in fields of introspection, and in all that nests."""

    data: int = 0
    introspection: int = 0
    nesting: int = 0


@dataclass(slots=True)
class Measures:
    """What counts together for all operations of one request."""

    aliases: int = 0
    directives: int = 0
    spreads: int = 0
    selections: int = 0
    heights: dict[str, Heights] = field(default_factory=dict)


def measure(document: DocumentNode, *, max_depth: int, max_aliases: int) -> Measures:
    """The measures of a document. Raises :class:`Refusal` for one that is beyond a limit."""
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    if len(fragments) > MAX_FRAGMENTS:
        raise too_much(
            TOO_MANY_FRAGMENTS, f"The document has more than {MAX_FRAGMENTS} fragments.", limit=MAX_FRAGMENTS
        )
    operations = sum(isinstance(node, OperationDefinitionNode) for node in document.definitions)
    if operations > MAX_OPERATIONS:
        raise too_much(
            TOO_MANY_OPERATIONS, f"The document has more than {MAX_OPERATIONS} operations.", limit=MAX_OPERATIONS
        )
    measures = Measures()
    visit(document, _Counting(measures, max_aliases))
    measuring = _Measuring(fragments, measures.heights)
    for node in document.definitions:
        if isinstance(node, FragmentDefinitionNode):
            measuring.fragment(node.name.value, 0)
        elif isinstance(node, OperationDefinitionNode):
            heights = measuring.selections(node.selection_set, 0)
            _check_depth(heights, max_depth)
    return measures


def _check_depth(heights: Heights, max_depth: int) -> None:
    for found, limit, what in (
        (heights.data, max_depth, "fields"),
        (heights.introspection, MAX_INTROSPECTION_DEPTH, "fields of introspection"),
        (heights.nesting, _MAX_LEVELS // 2, "levels of fields and fragments"),
    ):
        if found > limit:
            raise too_much(
                TOO_DEEP, f"The query is {found} {what} deep; at most {limit} are allowed.", limit=limit, depth=found
            )


class _Counting(Visitor):
    """Everything that is counted node by node. graphql-core's visit keeps a stack of its own and does not recurse."""

    def __init__(self, measures: Measures, max_aliases: int) -> None:
        super().__init__()
        self._measures = measures
        self._max_aliases = max_aliases

    def enter_field(self, node: FieldNode, *_: object) -> None:
        self._directives(node)
        if node.alias is not None:
            self._measures.aliases += 1
            if self._measures.aliases > self._max_aliases:
                raise too_much(
                    TOO_MANY_ALIASES,
                    f"The request has more than {self._max_aliases} aliases.",
                    limit=self._max_aliases,
                )

    def enter_fragment_spread(self, node: FragmentSpreadNode, *_: object) -> None:
        self._directives(node)
        self._measures.spreads += 1
        if self._measures.spreads > MAX_SPREADS:
            raise too_much(
                TOO_MANY_FRAGMENTS, f"The document uses fragments more than {MAX_SPREADS} times.", limit=MAX_SPREADS
            )

    def enter_inline_fragment(self, node: InlineFragmentNode, *_: object) -> None:
        self._directives(node)

    def enter_operation_definition(self, node: OperationDefinitionNode, *_: object) -> None:
        self._directives(node)
        variables = node.variable_definitions or ()
        if len(variables) > MAX_VARIABLES:
            raise too_much(
                TOO_MANY_VARIABLES, f"An operation has more than {MAX_VARIABLES} variables.", limit=MAX_VARIABLES
            )
        for variable in variables:
            self._directives(variable)

    def enter_fragment_definition(self, node: FragmentDefinitionNode, *_: object) -> None:
        self._directives(node)

    def enter_selection_set(self, node: SelectionSetNode, *_: object) -> None:
        self._measures.selections += len(node.selections)
        if self._measures.selections > MAX_SELECTIONS:
            raise too_much(
                TOO_MANY_FIELDS, f"The document selects more than {MAX_SELECTIONS} fields.", limit=MAX_SELECTIONS
            )
        names = Counter(
            (one.alias or one.name).value if isinstance(one, FieldNode) else "..." for one in node.selections
        )
        for name, times in names.items():
            if times > MAX_REPEATS and name != "...":
                raise too_much(
                    TOO_MANY_FIELDS,
                    f"The field {name[:60]!r} stands {times} times in one selection; at most {MAX_REPEATS} are allowed.",
                    limit=MAX_REPEATS,
                )

    def enter_string_value(self, node: StringValueNode, *_: object) -> None:
        if "\x00" in node.value:
            raise Refusal(PARSE_FAILED, "A text of the document has a NUL character.")

    def _directives(self, node: object) -> None:
        directives = getattr(node, "directives", None) or ()
        self._measures.directives += len(directives)
        if len(directives) > MAX_DIRECTIVES_AT_ONE_PLACE:
            raise too_much(
                TOO_MANY_DIRECTIVES,
                f"More than {MAX_DIRECTIVES_AT_ONE_PLACE} directives stand at one place.",
                limit=MAX_DIRECTIVES_AT_ONE_PLACE,
            )
        if self._measures.directives > MAX_DIRECTIVES:
            raise too_much(
                TOO_MANY_DIRECTIVES, f"The document has more than {MAX_DIRECTIVES} directives.", limit=MAX_DIRECTIVES
            )


class _Measuring:
    """Heights of selection sets; the text was scanned, so what nests within one definition nests a little only."""

    def __init__(self, fragments: dict[str, FragmentDefinitionNode], heights: dict[str, Heights]) -> None:
        self._fragments = fragments
        self._heights = heights
        self._open: set[str] = set()

    def fragment(self, name: str, level: int) -> Heights:
        if name in self._heights:
            return self._heights[name]
        if name in self._open:
            raise too_much(FRAGMENT_CYCLE, f"The fragment {name[:60]!r} spreads itself, perhaps through others.")
        node = self._fragments.get(name)
        if node is None:
            return Heights()  # Validation says so, with its place.
        self._open.add(name)
        found = self._heights[name] = self.selections(node.selection_set, level + 1)
        self._open.discard(name)
        return found

    def selections(self, selection_set: SelectionSetNode, level: int) -> Heights:
        if level > _MAX_LEVELS:
            raise too_much(TOO_DEEP, f"Fields and fragments nest more than {_MAX_LEVELS} levels.", limit=_MAX_LEVELS)
        data = introspection = nesting = 0
        for one in selection_set.selections:
            below = self._below(one, level)
            if isinstance(one, FieldNode):
                if one.name.value in _INTROSPECTION:
                    introspection = max(introspection, below.data + 1)
                else:
                    data = max(data, below.data + 1)
            else:
                data = max(data, below.data)
            introspection = max(introspection, below.introspection)
            nesting = max(nesting, below.nesting + 1)
        return Heights(data, introspection, nesting)

    def _below(self, one: object, level: int) -> Heights:
        if isinstance(one, FragmentSpreadNode):
            return self.fragment(one.name.value, level + 1)
        if isinstance(one, FieldNode | InlineFragmentNode) and one.selection_set is not None:
            return self.selections(one.selection_set, level + 1)
        return Heights()
