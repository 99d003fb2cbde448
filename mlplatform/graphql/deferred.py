"""Execution of operations whose resolvers may answer later: :mod:`mlplatform.lib.deferred` inside graphql-core's own.

Fields are resolved until all that is left waits for loaders; then these fetch, which lets more fields go on. Scopes are
asked for before a field's resolver runs, and the points of what was resolved are counted, as
:mod:`mlplatform.lib.graphql_cost` declares them.
"""

from collections.abc import Iterable
from typing import Any, cast

from graphql import (
    ExecutionContext,
    FieldNode,
    GraphQLError,
    GraphQLLeafType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLResolveInfo,
    OperationDefinitionNode,
    is_leaf_type,
    located_error,
)
from graphql.execution.execute import get_field_def
from graphql.execution.values import get_argument_values
from graphql.pyutils import Path, Undefined, is_iterable

from mlplatform.graphql import declarations
from mlplatform.lib.deferred import Future, dispatch_all, gather
from mlplatform.lib.errors import unavailable
from tenants import scopes
from tenants.graphql.call import GraphQLCall
from tenants.guards import StaleCaller

Fields = dict[str, list[FieldNode]]


def _never(value: Any) -> bool:
    return False


class DeferredContext(ExecutionContext):
    """Executes one operation; ``context_value`` is its :class:`GraphQLCall`. ``points`` counts what was resolved."""

    points = 0
    is_awaitable = staticmethod(_never)

    def execute_operation(self, operation: OperationDefinitionNode, root_value: Any) -> Any:
        self._costs = declarations.of(self.schema)
        self._call: GraphQLCall = self.context_value
        result = super().execute_operation(operation, root_value)
        return self._settled(result) if isinstance(result, Future) else result

    def _settled(self, future: Future[Any]) -> Any:
        dispatch_all(self._call.loaders)
        if not future.done:
            raise RuntimeError("A field waits for a value that no loader of this operation fetches.")
        return future.result()

    def execute_fields(
        self, parent_type: GraphQLObjectType, source_value: Any, path: Path | None, fields: Fields
    ) -> Any:
        results: dict[str, Any] = {}
        late: list[str] = []
        for name, nodes in fields.items():
            result = self.execute_field(parent_type, source_value, nodes, Path(path, name, parent_type.name))
            if result is Undefined:
                continue
            results[name] = result
            if isinstance(result, Future):
                late.append(name)
        if not late:
            return results

        def fill(values: list[Any]) -> dict[str, Any]:
            results.update(zip(late, values, strict=True))
            return results

        return gather([results[name] for name in late]).then(fill)

    def execute_fields_serially(
        self, parent_type: GraphQLObjectType, source_value: Any, path: Path | None, fields: Fields
    ) -> Any:
        results: dict[str, Any] = {}
        for name, nodes in fields.items():
            result = self.execute_field(parent_type, source_value, nodes, Path(path, name, parent_type.name))
            if isinstance(result, Future):
                result = self._settled(result)
            if result is not Undefined:
                results[name] = result
        return results

    def execute_field(
        self, parent_type: GraphQLObjectType, source: Any, field_nodes: list[FieldNode], path: Path
    ) -> Any:
        field = get_field_def(self.schema, parent_type, field_nodes[0])
        if not field:
            return Undefined
        return_type = field.type
        declared = self._costs.of_field(parent_type, field_nodes[0].name.value)
        info = self.build_resolve_info(field, field_nodes, parent_type, path)

        def complete(value: Any) -> Any:
            if isinstance(value, Exception):
                raise value
            self.points += declared.complexity
            return self.complete_value(return_type, field_nodes, info, path, value)

        try:
            if declared.scope:
                scopes.require(self._call.key.scopes, declared.scope)
            resolve = field.resolve or self.field_resolver
            result = resolve(source, info, **self._arguments(field, field_nodes[0]))
            completed = _after(result, complete)
        except Exception as error:  # noqa: BLE001 - any error of a field is that field's
            return self._failed(error, field_nodes, return_type, path)
        return self._guarded(completed, field_nodes, return_type, path)

    def _arguments(self, field: Any, node: FieldNode) -> dict[str, Any]:
        try:
            return get_argument_values(field, node, self.variable_values)
        except GraphQLError as error:
            error.extensions = {"code": "INVALID_INPUT"}
            raise

    def complete_list_value(
        self,
        return_type: GraphQLList[GraphQLOutputType],
        field_nodes: list[FieldNode],
        info: GraphQLResolveInfo,
        path: Path,
        result: Any,
    ) -> Any:
        if not is_iterable(result):
            raise TypeError(f"Expected a list for the field '{info.parent_type.name}.{info.field_name}'.")
        item_type = return_type.of_type
        leaf = item_type.of_type if isinstance(item_type, GraphQLNonNull) else item_type
        plain = _serialized(cast(GraphQLLeafType, leaf), result) if is_leaf_type(leaf) else None
        if plain is not None:
            return plain
        items: list[Any] = []
        late: list[int] = []
        for index, item in enumerate(cast(Iterable[Any], result)):
            item_path = path.add_key(index, None)

            def complete(value: Any, item_path: Path = item_path) -> Any:
                return self.complete_value(item_type, field_nodes, info, item_path, value)

            try:
                completed = self._guarded(_after(item, complete), field_nodes, item_type, item_path)
            except Exception as error:  # noqa: BLE001 - as for fields
                self._failed(error, field_nodes, item_type, item_path)
                completed = None
            if isinstance(completed, Future):
                late.append(index)
            items.append(completed)
        if not late:
            return items

        def fill(values: list[Any]) -> list[Any]:
            for index, value in zip(late, values, strict=True):
                items[index] = value
            return items

        return gather([items[index] for index in late]).then(fill)

    def _guarded(self, completed: Any, nodes: list[FieldNode], return_type: GraphQLOutputType, path: Path) -> Any:
        """A later failure is the field's, as an immediate one is."""
        if not isinstance(completed, Future):
            return completed
        if completed.done:
            try:
                return completed.result()
            except Exception as error:  # noqa: BLE001 - as for fields
                return self._failed(error, nodes, return_type, path)
        return completed.then(_same, lambda error: self._failed(error, nodes, return_type, path))

    def _failed(self, error: Exception, nodes: list[FieldNode], return_type: GraphQLOutputType, path: Path) -> None:
        """The field is null, or raises the error on to its parent if it must not be."""
        located = located_error(error, nodes, path.as_list())
        if isinstance(located.original_error, StaleCaller):
            if not self._call.irrevocable:
                raise located.original_error
            # Some of it is done and charged: to begin anew as the changed key would charge it twice.
            changing = unavailable("This key is being changed at this moment; please ask for this field again.")
            located = located_error(changing, nodes, path.as_list())
        self.handle_field_error(located, return_type, path)


def _after(value: Any, complete: Any) -> Any:
    """What ``complete`` makes of a value, now or when it is there. Raises what an immediate failure raises."""
    if not isinstance(value, Future):
        return complete(value)
    return complete(value.result()) if value.done else value.then(complete)


def _serialized(leaf: GraphQLLeafType, values: Any) -> list[Any] | None:
    """The scalars of a list at once, for an embedding has hundreds; None where one is null, wrong or not there yet."""
    items = []
    for value in values if isinstance(values, list | tuple) else (None,):
        if value is None or isinstance(value, Future | Exception):
            return None
        try:
            item = leaf.serialize(value)
        except Exception:  # noqa: BLE001 - told by the long way, with the place of the value
            return None
        if item is None or item is Undefined:
            return None
        items.append(item)
    return items


def _same(value: Any) -> Any:
    return value
