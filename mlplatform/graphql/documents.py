"""Documents, read and judged once: parsing and validation cost more than most queries' execution."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    OperationType,
    parse,
    validate,
)
from graphql.validation.rules import overlapping_fields_can_be_merged
from graphql.validation.validate import ValidationAbortedError
from prometheus_client import Counter

from mlplatform.graphql.measuring import measure
from mlplatform.graphql.refusals import (
    MAX_TOLD,
    OPERATION_UNKNOWN,
    PARSE_FAILED,
    TOO_MANY_FIELDS,
    VALIDATION_FAILED,
    Refusal,
    too_much,
)
from mlplatform.graphql.scanning import MAX_CHARACTERS, scan
from mlplatform.lib.errors import PlatformError

# The library reads this for each document: the pairs of fields that it compares. A hundred fields in forty fragments
# kept a process busy for 0.2 s by its own limit; a page of a dashboard needs some hundred pairs.
overlapping_fields_can_be_merged.MAX_COMPLEXITY_BUDGET = 12_000

_looked_up: Final = Counter("mlplatform_graphql_documents_total", "Documents by how they were found.", ["outcome"])

MAX_KEPT_TOKENS: Final = 100_000
"""Of all documents that are kept, which bounds their memory to some 100 MB."""


Require = Callable[[DocumentNode], None]


@dataclass(frozen=True, slots=True)
class Document:
    """A document that is valid for its schema. ``tokens`` and ``aliases`` count for the limits of a request."""

    node: DocumentNode
    tokens: int
    aliases: int

    def operation(self, name: str | None) -> OperationDefinitionNode:
        """The operation of this name, or the only one. Raises :class:`Refusal` where that names none or several."""
        operations = named(self.node, name)
        if name is not None:
            if not operations:
                raise _unknown(f"The document has no operation {name[:60]!r}.")
        elif len(operations) != 1:
            raise _unknown("The document has several operations; name one in operationName.")
        return operations[0]


def named(node: DocumentNode, name: str | None) -> list[OperationDefinitionNode]:
    """The operations of a document, or those of this name, which may be none."""
    found = [one for one in node.definitions if isinstance(one, OperationDefinitionNode)]
    return found if name is None else [one for one in found if one.name is not None and one.name.value == name]


def _unknown(detail: str) -> Refusal:
    return Refusal(OPERATION_UNKNOWN, detail, parsed=True, field="operationName")


_Key = tuple[int, bytes]


class Documents:
    """Valid documents by schema and SHA-256 of their text; the one that was not asked for longest goes first."""

    def __init__(self, *, max_tokens: int = MAX_KEPT_TOKENS) -> None:
        self._max_tokens = max_tokens
        self._kept: OrderedDict[_Key, tuple[Document, GraphQLSchema]] = OrderedDict()
        self._tokens = 0
        self._lock = threading.Lock()

    def get(
        self,
        schema: GraphQLSchema,
        text: str,
        *,
        max_tokens: int,
        max_depth: int,
        max_aliases: int,
        require: Require | None = None,
    ) -> Document:
        """The document of this text. Raises :class:`Refusal` for one that cannot be read, is too much, or is invalid.

        ``require`` looks at the document as soon as it can be read, and may raise.
        """
        key = (id(schema), hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
        with self._lock:
            entry = self._kept.get(key)
            if entry is not None:
                self._kept.move_to_end(key)
        if entry is not None and entry[0].tokens <= max_tokens and entry[0].aliases <= max_aliases:
            _looked_up.labels("kept").inc()
            if require is not None:
                require(entry[0].node)
            return entry[0]
        # One that is kept, but too much for what is left to this request, is refused as any other.
        try:
            document = read(
                schema, text, max_tokens=max_tokens, max_depth=max_depth, max_aliases=max_aliases, require=require
            )
        except PlatformError:
            _looked_up.labels("refused").inc()
            raise
        _looked_up.labels("read").inc()
        self._keep(key, document, schema)
        return document

    def forget(self) -> None:
        """Drop every document; for tests."""
        with self._lock:
            self._kept.clear()
            self._tokens = 0

    def _keep(self, key: _Key, document: Document, schema: GraphQLSchema) -> None:
        with self._lock:
            if key in self._kept:
                return
            # The schema is kept too, so that no other one can have its id.
            self._kept[key] = (document, schema)
            self._tokens += document.tokens
            while self._tokens > self._max_tokens and len(self._kept) > 1:
                _, (oldest, _) = self._kept.popitem(last=False)
                self._tokens -= oldest.tokens


def read(
    schema: GraphQLSchema,
    text: str,
    *,
    max_tokens: int,
    max_depth: int,
    max_aliases: int,
    require: Require | None = None,
) -> Document:
    """Scan, parse, measure and validate a text, in this order, each step only after the cheaper one before it."""
    tokens = scan(text, max_tokens=max_tokens)
    try:
        node = parse(text, max_lexical_tokens=max_tokens, max_comments=max_tokens, max_source_length=MAX_CHARACTERS)
    except GraphQLSyntaxError as error:
        raise Refusal(PARSE_FAILED, error.message, told=[error]) from error
    except GraphQLError as error:
        raise Refusal(PARSE_FAILED, error.message) from error
    if not any(isinstance(one, OperationDefinitionNode) for one in node.definitions):
        raise Refusal(PARSE_FAILED, "The document has no operation.")
    if require is not None:
        require(node)
    measures = measure(node, max_depth=max_depth, max_aliases=max_aliases)
    mistakes = validate(schema, node, max_errors=MAX_TOLD)
    if len(mistakes) == 1 and isinstance(mistakes[0], ValidationAbortedError):
        raise too_much(TOO_MANY_FIELDS, "The fields of the document's fragments are too many to be compared.")
    if mistakes:
        raise Refusal(VALIDATION_FAILED, mistakes[0].message, parsed=True, told=mistakes[:MAX_TOLD])
    return Document(node, tokens, measures.aliases)


def is_mutation(operation: OperationDefinitionNode) -> bool:
    """Whether the operation may change something."""
    return operation.operation is OperationType.MUTATION


documents: Final = Documents()
