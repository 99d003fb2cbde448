"""Null is absent: every argument and input field that may be left out may be null, in the document and in variables."""

from collections.abc import Iterator
from typing import Any, Final

import pytest
from graphql import (
    GraphQLInputObjectType,
    GraphQLObjectType,
    get_named_type,
    is_required_argument,
    is_required_input_field,
)

from mlplatform.schema import schema
from tests.conftest import Customer
from tests.support.graphql_schema import told
from tests.support.live_worker import LiveWorker, demo_models, live_worker
from tests.support.rest import Api

__all__ = ["demo_models", "live_worker"]

PREDICT: Final = 'predict(inputData: "Fine.", model: "sentiment"{}) {{ model {{ name }} predictions {{ label }} }}'
STRUCTURED: Final = (
    'predict(input: {{text: "Fine."{}}}, model: "sentiment") {{ model {{ name }} predictions {{ label }} }}'
)
PAGE: Final = "{{ pageInfo {{ hasNextPage }} edges {{ node {{ id }} }} }}"
QUERIES: Final[dict[str, dict[str, str]]] = {
    "Query.predict": {
        # Without its model the tenant's default answers; of the two forms of input one must be there.
        "model": '{{ predict(inputData: "Fine."{}) {{ model {{ name }} predictions {{ label }} }} }}',
        "inputData": '{{ predict(input: {{text: "Fine."}}{}) {{ model {{ name }} predictions {{ label }} }} }}',
        "input": "{{ " + PREDICT + " }}",
        "topK": "{{ " + PREDICT + " }}",
        "truncate": "{{ " + PREDICT + " }}",
    },
    "Query.batchPredict": {
        "truncate": '{{ batchPredict(inputs: ["Fine."], models: ["sentiment"]{}) {{ predictions {{ label }} }} }}'
    },
    "PredictionInput": dict.fromkeys(("tensor", "values", "image", "pair"), "{{ " + STRUCTURED + " }}")
    | {"text": "{{ predict(input: {{values: " + str([0.0] * 64) + '{}}}, model: "digits") {{ model {{ name }} }} }}'},
    "EndUser.recommendations": {"limit": '{{ user(id: "ann") {{ recommendations({}) {{ itemId }} }} }}'},
    "Tenant.usage": dict.fromkeys(("from", "to", "by"), "{{ tenant {{ usage({}) {{ from to rows {{ day }} }} }} }}"),
} | {
    place: dict.fromkeys(("first", "after", "last", "before"), query.replace("PAGE", PAGE))
    for place, query in {
        "Query.items": "{{ items({}) PAGE }}",
        "Query.models": "{{ models({}) PAGE }}",
        "Tenant.members": "{{ tenant {{ members({}) PAGE }} }}",
        "Tenant.keys": "{{ tenant {{ keys({}) PAGE }} }}",
        "Tenant.recentPredictions": "{{ tenant {{ recentPredictions({}) PAGE }} }}",
    }.items()
}


def optional() -> Iterator[tuple[str, str, str]]:
    """Place, name and type of everything that a query may leave out."""
    for name, one in schema.graphql_schema.type_map.items():
        if name.startswith("__"):
            continue
        if isinstance(one, GraphQLInputObjectType):
            yield from (
                (name, field, str(of.type)) for field, of in one.fields.items() if not is_required_input_field(of)
            )
        if isinstance(one, GraphQLObjectType):
            for field, of in one.fields.items():
                for argument, about in of.args.items():
                    if not is_required_argument(about):
                        yield f"{name}.{field}", argument, str(get_named_type(about.type))


CASES: Final = list(optional())


def test_everything_that_may_be_left_out_is_here() -> None:
    assert {(place, name) for place, name, _ in CASES} == {
        (place, name) for place, names in QUERIES.items() for name in names
    }


@pytest.fixture
def audience(acme: Customer, live_worker: LiveWorker, free_queries: None) -> Customer:
    acme.tenant.default_model = "sentiment"
    acme.tenant.save()
    api = Api(acme)
    api.post("/v2/items", {"items": [{"external_id": "pasta", "title": "Pasta", "categories": ["food"]}]})
    api.post("/v2/users", {"users": [{"external_id": "ann", "preferences": {"categories": ["food"]}}]})
    return acme


@pytest.mark.parametrize(("place", "name"), [case[:2] for case in CASES], ids=lambda value: str(value))
def test_null_is_absent(audience: Customer, place: str, name: str) -> None:
    query = QUERIES[place][name]
    separator = "" if "({})" in query else ", "
    # An argument list that is empty is no argument list.
    without: Any = told(audience, query.format("").replace("()", ""))
    assert told(audience, query.format(f"{separator}{name}: null")) == without
    kind = {case[:2]: case[2] for case in CASES}[place, name]
    kind = "[UsageDimension!]" if kind == "UsageDimension" else kind
    asked = "query($given: " + kind + ") " + query.format(f"{separator}{name}: $given")
    assert told(audience, asked, {"given": None}) == without
