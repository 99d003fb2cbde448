"""Fields that end with an API version: introspection, the printed schema, headers and refusals have the lifecycle's dates."""

import datetime as dt

import graphene
import pytest
from graphql import print_schema

from mlplatform.schema import schema
from tenants.deprecations import catalogue, schedules
from tenants.graphql import deprecations
from tenants.graphql.deprecations import DeprecatedField, FieldDeprecation
from tests.conftest import Customer
from tests.support import ledger
from tests.support.ending import make_schedule
from tests.support.graphql_schema import ask, refused, told
from tests.support.rest import Api
from tests.support.tiny_model import TinyWorker

INTROSPECT = """query($all: Boolean) { __type(name: "ModelPrediction") {
    fields(includeDeprecated: $all) { name isDeprecated deprecationReason } } }"""
OLD = '{ predict(model: "tiny", inputData: "hello") { prediction confidence units } }'


def deprecated(customer: Customer) -> dict[str, str]:
    fields = told(customer, INTROSPECT, {"all": True})["__type"]["fields"]
    return {field["name"]: field["deprecationReason"] for field in fields if field["isDeprecated"]}


def test_without_a_schedule_they_are_fields_like_others(acme: Customer, tiny: TinyWorker) -> None:
    assert deprecated(acme) == {}
    assert "@deprecated" not in print_schema(schema.graphql_schema)
    answer = ask(acme, OLD)
    assert answer.errors == []
    rest = Api(acme).post("/v1/predict", {"model": "tiny", "input": "hello"})
    assert {name: answer.data["predict"][name] for name in rest.body} == rest.body
    assert "Deprecation" not in answer.headers


def test_from_the_deprecation_on_they_carry_its_dates(acme: Customer, tiny: TinyWorker) -> None:
    row = make_schedule("api_version", "v1", "v2")
    dates = f"Deprecated since {row.deprecate_at:%Y-%m-%d}, ends {row.sunset_at:%Y-%m-%d}"
    assert deprecated(acme) == {
        "prediction": f"{dates}; use predictions[0].label. Guide: /docs/migrate/v1-v2",
        "confidence": f"{dates}; use predictions[0].score. Guide: /docs/migrate/v1-v2",
    }
    shown = {field["name"] for field in told(acme, INTROSPECT)["__type"]["fields"]}
    assert "predictions" in shown
    assert "confidence" not in shown
    assert print_schema(schema.graphql_schema).count(f'@deprecated(reason: "{dates}; use') == 2
    answer = ask(acme, OLD)
    assert answer.errors == []
    assert answer.headers["Deprecation"] == f"@{int(row.deprecate_at.timestamp())}"
    assert answer.headers["X-API-Sunset-Date"] == f"{row.sunset_at:%Y-%m-%d}"
    assert "/docs/migrate/v1-v2" in answer.headers["Link"]
    assert "successor-version" not in answer.headers["Link"]


def test_who_does_not_use_them_hears_nothing(acme: Customer, tiny: TinyWorker) -> None:
    make_schedule("api_version", "v1", "v2")
    answer = ask(acme, '{ predict(model: "tiny", inputData: "hello") { predictions { label } } }')
    assert answer.errors == []
    assert "Deprecation" not in answer.headers


def test_an_announcement_alone_says_nothing_yet(acme: Customer, tiny: TinyWorker) -> None:
    make_schedule("api_version", "v1", "v2", announced_days_ago=1, deprecated_days_ago=-1)
    assert deprecated(acme) == {}
    assert "Deprecation" not in ask(acme, OLD).headers


def test_after_the_sunset_they_are_gone_and_the_rest_stays(acme: Customer, globex: Customer, tiny: TinyWorker) -> None:
    row = make_schedule("api_version", "v1", "v2", deprecated_days_ago=30, sunset_in_days=-1)
    schedules.grant_extension(
        schedule=row,
        tenant=globex.tenant,
        until=row.sunset_at + dt.timedelta(days=30),
        reason="They asked.",
        approved_by=globex.owner,
    )
    catalogue.forget()
    answer = ask(acme, '{ predict(model: "tiny", inputData: "hello") { confidence predictions { label } units } }')
    assert answer.data["predict"]["confidence"] is None
    assert answer.data["predict"]["units"] == 1
    error = refused(answer, "GONE", "predict", "confidence", field="confidence")
    assert error["message"].startswith("The GraphQL field ModelPrediction.confidence ended on")
    assert error["extensions"]["successor"] == "predictions[0].score"
    assert ask(globex, OLD).errors == []
    assert ledger.holds(acme.tenant) == 0


def test_a_field_that_is_named_wrongly_is_found_when_the_schema_is_built() -> None:
    class Query(graphene.ObjectType):  # type: ignore[misc]
        one = DeprecatedField(graphene.Int, ends=FieldDeprecation("Query.two", api_version="v1", use="three"))

    with pytest.raises(ValueError, match=r"has no field Query\.two"):
        deprecations.bring_to_life(graphene.Schema(query=Query).graphql_schema)
