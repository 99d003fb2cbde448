"""The GraphQL schema as a whole: as it is committed, only growing, and without fields that take their siblings with them."""

import os
from pathlib import Path

import pytest
from django.conf import settings
from graphql import GraphQLNonNull, build_schema, find_breaking_changes, print_schema

from mlplatform.graphql import declarations
from mlplatform.graphql.refusals import TABLE
from mlplatform.lib.errors import ErrorKind
from mlplatform.schema import schema
from tenants.scopes import SCOPES
from tests.conftest import Customer
from tests.support.graphql_schema import ask

SNAPSHOT = Path(settings.BASE_DIR) / "docs" / "schema.graphql"
RELEASED = Path(__file__).parent / "released" / "schema.graphql"


def test_the_printed_schema_is_committed(db: None) -> None:
    printed = f"{print_schema(schema.graphql_schema)}\n"
    if os.environ.get("UPDATE_SNAPSHOTS") == "1":
        SNAPSHOT.write_text(printed)
    assert printed == SNAPSHOT.read_text()


def test_what_was_released_stays(db: None) -> None:
    breaking = find_breaking_changes(
        build_schema(RELEASED.read_text()), build_schema(print_schema(schema.graphql_schema))
    )
    assert [change.description for change in breaking] == []


def test_a_field_with_a_scope_can_be_null() -> None:
    declared = declarations.of(schema.graphql_schema).fields
    with_scope = {place: cost.scope for place, cost in declared.items() if cost.scope}
    assert set(with_scope.values()) <= set(SCOPES)
    assert len(with_scope) > 10
    for type_name, field in with_scope:
        type_ = schema.graphql_schema.type_map[type_name]
        # Else the error of one field would take its siblings with it.
        assert not isinstance(type_.fields[field].type, GraphQLNonNull), (type_name, field)


def test_connections_multiply_what_is_below_them() -> None:
    declared = declarations.of(schema.graphql_schema)
    found = 0
    for type_ in schema.graphql_schema.type_map.values():
        for name, field in getattr(type_, "fields", {}).items():
            if str(getattr(field, "type", "")).rstrip("!").endswith("Connection"):
                cost = declared.of_field(type_, name)
                assert (cost.multiplier, cost.assumed) == ("first last", 20), (type_, name)
                found += 1
    assert found == 5


@pytest.mark.parametrize(
    ("arguments", "points"), [("", 22), ("(first: 3)", 5), ("(first: 100)", 102), ("(last: 100)", 102)]
)
def test_the_size_of_a_page_is_its_cost(acme: Customer, arguments: str, points: int) -> None:
    answer = ask(acme, f"{{ tenant {{ keys{arguments} {{ edges {{ node {{ name }} }} }} }} }}")
    assert answer.errors == []
    assert answer.extensions["cost"]["requested"] == points


def test_items_name_their_errors_as_errors_do() -> None:
    assert {kind.name for kind in ErrorKind} == {TABLE[kind].code for kind in ErrorKind}
