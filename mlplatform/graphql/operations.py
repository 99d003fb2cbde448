"""One operation from its text to its answer: judged, added up, held, executed, settled."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from importlib import import_module
from typing import Any, Final, cast

from django.conf import settings
from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
)

from billing.admission import Decision
from billing.contracts import contract_of
from billing.http.keyed import peek
from inference.registry import live
from mlplatform.graphql import charging, declarations, refusals
from mlplatform.graphql import cost as costs
from mlplatform.graphql.charging import Hold
from mlplatform.graphql.cost import Cost
from mlplatform.graphql.deferred import DeferredContext
from mlplatform.graphql.documents import Document, documents, is_mutation, named
from mlplatform.graphql.refusals import (
    COST_TOO_HIGH,
    DOCUMENT_NOT_FOUND,
    TOO_MANY_VALUES,
    TRUSTED_DOCUMENTS_ONLY,
    VALIDATION_FAILED,
    VARIABLES_INVALID,
    Refusal,
    too_much,
)
from mlplatform.graphql.requests import MAX_VALUES, Asked
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants import trusted_documents
from tenants.authentication import Caller
from tenants.deprecations.rules import Deprecation
from tenants.graphql.call import GraphQLCall
from tenants.guards import StaleCaller

_ABOUT_THE_SCHEMA: Final = frozenset({"__schema", "__type", "__typename"})
PERSISTED_QUERY_NOT_FOUND: Final = "PERSISTED_QUERY_NOT_FOUND"
"""What Apollo's clients wait for; they send the text then."""


@lru_cache(maxsize=1)
def the_schema() -> GraphQLSchema:
    """The schema that ``GRAPHENE["SCHEMA"]`` names. It is built when it is first asked for: a worker never needs it."""
    module, _, name = settings.GRAPHENE["SCHEMA"].rpartition(".")
    schema: GraphQLSchema = getattr(import_module(module), name).graphql_schema
    return schema


@dataclass(slots=True)
class Budget:
    """What is left to a request of the limits that its operations share, so that many are not more than one."""

    tokens: int = field(default_factory=lambda: settings.GRAPHQL_MAX_TOKENS)
    aliases: int = field(default_factory=lambda: settings.GRAPHQL_MAX_ALIASES)
    points: int = field(default_factory=lambda: settings.GRAPHQL_MAX_COST)
    fields: int = field(default_factory=lambda: settings.GRAPHQL_MAX_COST * costs.FIELDS_A_POINT)
    introspected: int = field(default_factory=lambda: costs.INTROSPECTIONS * costs.usual_introspection(the_schema()))
    values: int = MAX_VALUES


@dataclass(frozen=True, slots=True)
class OperationOutcome:
    """The answer of one operation, and what the HTTP answer says in headers."""

    body: dict[str, Any]
    decision: Decision | None
    deprecations: tuple[Deprecation, ...] = ()


@dataclass(frozen=True, slots=True)
class Planned:
    """An operation that may run: it is valid, its variables fit, and it costs no more than it may."""

    call: GraphQLCall
    context: DeferredContext
    cost: Cost
    reads: bool
    """Whether it asks for anything beside predictions, which charge themselves."""


def run(asked: Asked, call: GraphQLCall, budget: Budget, *, queries_only: bool = False) -> OperationOutcome:
    """Answer an operation. Raises PlatformError for what ends it before it runs, and StaleCaller; nothing is charged then."""
    planned = plan(asked, call, budget, queries_only=queries_only)
    if call.caller is None:
        return OperationOutcome(_execute(planned), None)
    held = charging.hold(call, planned.cost) if planned.reads else None
    try:
        body = _execute(planned)
    except BaseException:
        if held is not None:
            held.give_back()
        raise
    settled = _settle(planned, held, body)
    decision = _limits_after(call, held, settled)
    body["extensions"] = {
        "cost": charging.report(
            planned.cost,
            points=_points(planned),
            held=held.units if held is not None else 0,
            settled=settled,
            predicted=sum(call.charged),
            limit=settings.GRAPHQL_MAX_COST,
            decision=decision,
        )
    }
    return OperationOutcome(body, decision, tuple(call.deprecations))


def plan(asked: Asked, call: GraphQLCall, budget: Budget, *, queries_only: bool) -> Planned:
    """Read and judge an operation; takes from the budget what it needs. Raises PlatformError for one that may not run."""
    schema = the_schema()
    document = documents.get(
        schema,
        _text(asked, call.caller),
        max_tokens=budget.tokens,
        max_depth=settings.GRAPHQL_MAX_DEPTH,
        max_aliases=budget.aliases,
        # Before the document is found to be invalid: a mutation over GET is refused as one, whatever else is wrong with it.
        require=partial(_require_no_mutation, name=asked.operation_name) if queries_only else None,
    )
    operation = document.operation(asked.operation_name)
    if schema.get_root_type(operation.operation) is None:
        raise Refusal(VALIDATION_FAILED, f"The schema has no {operation.operation.value}s.", parsed=True)
    values = _values(asked, budget)
    context = _context(schema, document, call, asked)
    found = context.fragments
    roots = costs.root_fields(operation, found, context.variable_values)
    if call.caller is None and not roots <= _ABOUT_THE_SCHEMA:
        raise PlatformError(
            ErrorKind.UNAUTHENTICATED,
            "A browser's session may look at the schema; to run this, send an API key in the header "
            "'Authorization: Bearer <API key>'.",
        )
    cost = costs.of_operation(
        schema,
        operation,
        found,
        context.variable_values,
        meter_of=partial(_meter, call.caller),
    )
    cost = replace(cost, points=cost.points + cost.schema_points)
    _check(cost, budget)
    budget.tokens -= document.tokens
    budget.aliases -= document.aliases
    budget.values -= values
    budget.points -= cost.points
    budget.fields -= cost.fields
    budget.introspected -= cost.introspected
    return Planned(call, context, cost, reads=not _predicts_only(schema, operation, roots))


def _meter(caller: Caller | None, model: str) -> str:
    """What the prices of the caller's predictions call the model that a field names, or leaves to the tenant's default."""
    return live.meter_of(model or caller.default_model, tenant_id=caller.tenant_id) if caller is not None else model


def _require_no_mutation(node: DocumentNode, *, name: str | None) -> None:
    """Raises METHOD_NOT_ALLOWED where each operation that may be meant is a mutation."""
    asked = named(node, name)
    if asked and all(is_mutation(one) for one in asked):
        raise PlatformError(ErrorKind.METHOD_NOT_ALLOWED, "Send mutations by POST; GET answers queries only.")


def _text(asked: Asked, caller: Caller | None) -> str:
    restricted = caller is not None and caller.trusted_documents_only
    if asked.text is not None and not (restricted and asked.sha256 is not None):
        if restricted:
            raise Refusal(
                TRUSTED_DOCUMENTS_ONLY,
                "This key may use trusted documents only: send the documentId of one that your tenant has registered.",
                status=403,
                parsed=True,
                field="query",
            )
        return asked.text
    found = None
    if caller is not None and asked.sha256 is not None:
        found = trusted_documents.text_of(tenant_id=caller.tenant_id, sha256=asked.sha256)
    if found is None:
        if asked.by_apollo:
            raise Refusal(PERSISTED_QUERY_NOT_FOUND, "PersistedQueryNotFound", status=404, parsed=True)
        raise Refusal(
            DOCUMENT_NOT_FOUND,
            "There is no trusted document of this id; an admin of the tenant registers them.",
            status=404,
            parsed=True,
            field="documentId",
        )
    return found


def _values(asked: Asked, budget: Budget) -> int:
    values = asked.values()
    if values > budget.values:
        raise too_much(
            TOO_MANY_VALUES,
            f"The lists of the request's variables have more than {MAX_VALUES:,} values; send fewer in one request.",
            limit=MAX_VALUES,
        )
    return values


def _context(schema: GraphQLSchema, document: Document, call: GraphQLCall, asked: Asked) -> DeferredContext:
    context = DeferredContext.build(
        schema,
        document.node,
        context_value=call,
        raw_variable_values=dict(asked.variables),
        operation_name=asked.operation_name,
        max_coercion_errors=refusals.MAX_TOLD,
    )
    if isinstance(context, list):
        raise Refusal(VARIABLES_INVALID, context[0].message, parsed=True, told=context, field="variables")
    return cast(DeferredContext, context)


def _check(cost: Cost, budget: Budget) -> None:
    limit: int = settings.GRAPHQL_MAX_COST
    fields = limit * costs.FIELDS_A_POINT
    if cost.points > budget.points:
        raise too_much(
            COST_TOO_HIGH,
            f"The query may cost {_number(cost.points)} points, and a request at most {limit:,}; ask for smaller pages or "
            "fewer things at once.",
            requested=min(cost.points, 2**53),
            limit=limit,
        )
    if cost.fields > budget.fields:
        raise too_much(
            COST_TOO_HIGH,
            f"The answer may have {_number(cost.fields)} fields, and a request at most {fields:,}; ask for less at once.",
            requested=min(cost.fields, 2**53),
            limit=fields,
        )
    if cost.introspected > budget.introspected:
        raise too_much(COST_TOO_HIGH, "This asks more of the schema than tools need; ask for it once.")


def _number(value: int) -> str:
    return f"{value:,}" if value < 10**12 else "very many"


def _predicts_only(schema: GraphQLSchema, operation: OperationDefinitionNode, roots: set[str]) -> bool:
    root = schema.get_root_type(operation.operation)
    declared = declarations.of(schema)
    others = roots - {"__typename"}
    return bool(others) and root is not None and all(declared.of_field(root, name).predicts for name in others)


def _execute(planned: Planned) -> dict[str, Any]:
    """The members data and errors. Raises StaleCaller, and nothing else but what is a mistake of ours."""
    context = planned.context
    data: dict[str, Any] | None
    try:
        data = context.execute_operation(context.operation, None)
    except GraphQLError as error:
        context.collected_errors.add(error, None)
        data = None
    found = context.collected_errors.errors
    if not found:
        return {"data": data}
    found.sort(key=lambda error: ([str(part) for part in error.path or []], error.message))
    request_id = planned.call.request_id
    # Errors stand first, so that people see them.
    return {"errors": [refusals.of_field(error, request_id=request_id) for error in found], "data": data}


def _points(planned: Planned) -> int:
    return min(planned.context.points + planned.cost.schema_points, planned.cost.points)


def _settle(planned: Planned, held: Hold | None, body: Mapping[str, Any]) -> int:
    """Charge for what was resolved; an operation that failed altogether costs nothing. Returns the units."""
    if held is None:
        return 0
    data = body["data"]
    if "errors" in body and (not data or all(value is None for value in data.values())):
        held.give_back()
        return 0
    units = min(held.units, charging.units_of(_points(planned)))
    try:
        held.settle(units)
    except PlatformError:
        held.give_back()
        if not sum(planned.call.charged):
            raise
        return 0  # Its predictions are paid for and are given, and with them what it read.
    return units


def _limits_after(call: GraphQLCall, held: Hold | None, settled: int) -> Decision:
    if held is not None and settled == held.units and not call.decisions:
        return held.decision
    last: Decision | None = call.decisions[-1] if call.decisions else None
    if held is None and last is not None:
        return last
    try:
        return peek(contract_of(call.key))
    except (PlatformError, StaleCaller):
        if held is None:
            raise
        # It was answered and charged: to begin anew would charge it twice, and to refuse would hide what was paid for.
        return last or held.decision
