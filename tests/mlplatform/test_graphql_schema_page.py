"""``docs/graphql-schema.md``: every query of the page has an answer without errors, and every scope is the one it names."""

import json
import re
from pathlib import Path

import pytest
from django.conf import settings

from mlplatform.graphql import declarations
from mlplatform.schema import schema
from tests.conftest import Customer
from tests.inference.graphql.test_audience import fill
from tests.support.graphql_schema import told
from tests.support.live_worker import LiveWorker, demo_models, live_worker

__all__ = ["demo_models", "live_worker"]

PAGE = (Path(settings.BASE_DIR) / "docs" / "graphql-schema.md").read_text()
QUERIES = re.findall(r"```graphql\n(.*?)```\n(?:```json\n(.*?)```)?", PAGE, re.DOTALL)


@pytest.mark.parametrize(("query", "variables"), QUERIES, ids=range(len(QUERIES)))
def test_a_query_of_the_page(acme: Customer, live_worker: LiveWorker, query: str, variables: str) -> None:
    if "items" in query or "recommendations" in query:
        fill(acme)
    data = told(acme, query, json.loads(variables) if variables else None)
    assert all(value is not None for value in data.values()), data


def test_the_zero_of_the_page_is_a_zero(acme: Customer, live_worker: LiveWorker) -> None:
    ((query, variables),) = [(query, variables) for query, variables in QUERIES if "Digit" in query]
    (best,) = told(acme, query, json.loads(variables))["predict"]["predictions"]
    assert best["label"] == "0"


def test_the_page_names_the_scope_of_every_field() -> None:
    lines = [line.split("|") for line in PAGE.splitlines() if line.startswith("| `")]
    told_of = {(field, scope) for _, fields, scope, _ in lines for field in re.findall(r"\w+", fields)}
    for (type_name, field), cost in declarations.of(schema.graphql_schema).fields.items():
        if cost.scope:
            found = [scope for name, scope in told_of if name == field and f"`{cost.scope}`" in scope]
            assert found, (type_name, field, cost.scope)
