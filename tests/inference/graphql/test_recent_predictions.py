"""``recentPredictions`` and the query of a dashboard: everything in one call, with as many SQL queries as for one row."""

import datetime as dt
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from billing.metering import ledger as metering_ledger
from billing.metering import voids as usage_voids
from billing.models import UsageRecord
from inference.models import ModelVersion, VersionState
from mlplatform.lib import clock
from tenants import api_keys
from tenants.models import Membership, User
from tests.conftest import Customer
from tests.inference.graphql.test_predict import spent
from tests.support.graphql_schema import ask, refused, told
from tests.support.rest import Api, predict
from tests.support.tiny_model import TinyWorker, make_version

RECENT = """query($first: Int, $after: String) { tenant { recentPredictions(first: $first, after: $after) {
    edges { node { id predictionId requestId at operation apiVersion modelName modelVersion inputs cached units keyId
                   model { name versions { version } } version { version state model { name } }
                   key { name secrets { lastFour } } } }
    pageInfo { hasNextPage endCursor } } } }"""

DASHBOARD = """query {
    tenant { name slug
        preferences { defaultModel keepsSampledCalls }
        plan { name includedUnits }
        limits { name amount remaining resetSeconds }
        usage(by: [DAY, MODEL]) { rows { day model units calls } total { units } }
        members { edges { node { name role } } }
        recentPredictions(first: 50) { edges { node { requestId at cached units
            model { name title liveVersion { version } }
            version { version state deprecation { sunsetAt reason } }
            key { name secrets { lastFour } } } } } } }"""


def record(customer: Customer, number: int, **fields: Any) -> UsageRecord:
    return UsageRecord(
        **{
            "id": f"{customer.tenant.slug}-{number:04d}",
            "tenant": customer.tenant,
            "key_uid": customer.key.uid,
            "occurred_at": clock.now() - dt.timedelta(minutes=number),
            "request_id": f"request-{number}",
            "operation": "predict",
            "model": "tiny",
            "model_version": "1.0.0",
            "api_version": "v2",
            "inputs": 1,
            "cached": False,
            "units": 1,
            **fields,
        }
    )


def nodes(data: dict[str, Any]) -> list[dict[str, Any]]:
    return [edge["node"] for edge in data["tenant"]["recentPredictions"]["edges"]]


def test_what_was_predicted_comes_back(acme: Customer, globex: Customer, tiny: TinyWorker) -> None:
    rest = predict(Api(acme), model="tiny", text="over rest").body
    graph = told(acme, '{ predict(model: "tiny", inputData: "here") { id requestId } }')["predict"]
    told(acme, '{ batchPredict(inputs: ["one"], models: ["tiny"]) { id } }')
    predict(Api(globex), model="tiny", text="theirs")
    metering_ledger.drain()
    batch, second, first = nodes(told(acme, RECENT))
    assert (first["predictionId"], first["apiVersion"]) == (rest["id"], "v2")
    assert (second["predictionId"], second["requestId"]) == (graph["id"], graph["requestId"])
    assert (second["apiVersion"], second["operation"], second["units"], second["cached"]) == (
        "graphql",
        "predict",
        1,
        False,
    )
    assert (batch["operation"], batch["units"]) == ("batch", 1)  # and not its fee, nor the queries themselves
    assert first["model"] == {"name": "tiny", "versions": [{"version": "1.0.0"}]}
    assert first["version"] == {"version": "1.0.0", "state": "LIVE", "model": {"name": "tiny"}}
    assert first["key"] == {"name": "Production", "secrets": [{"lastFour": acme.secret[-4:]}]}
    assert first["keyId"] == acme.key.uid
    again = told(
        acme, "query($id: ID!) { node(id: $id) { ... on RecentPrediction { id predictionId } } }", {"id": first["id"]}
    )
    assert again["node"] == {"id": first["id"], "predictionId": rest["id"]}


def test_pages(acme: Customer, free_queries: None) -> None:
    moment = clock.now()
    UsageRecord.objects.bulk_create(record(acme, number, occurred_at=moment) for number in range(7))
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(4):
        page = told(acme, RECENT, {"first": 2, "after": cursor})
        seen += [node["predictionId"] for node in nodes(page)]
        cursor = page["tenant"]["recentPredictions"]["pageInfo"]["endCursor"]
    assert seen == [f"acme-{number:04d}" for number in reversed(range(7))]
    assert page["tenant"]["recentPredictions"]["pageInfo"]["hasNextPage"] is False


def test_versions_that_are_retired_and_that_may_not_be_used(acme: Customer, free_queries: None) -> None:
    make_version("tiny", "1.0.0", VersionState.RETIRED)
    make_version("tiny", "2.0.0")
    make_version("other", "1.0.0")
    make_version("old", "1.0.0", VersionState.RETIRED)
    UsageRecord.objects.bulk_create(
        [
            record(acme, 0),
            record(acme, 1, model="other"),
            record(acme, 2, model="old"),
            record(acme, 3, model="unknown"),
        ]
    )
    everything = api_keys.issue(tenant=acme.tenant, name="All", scopes=["usage:read", "models:read", "tenant:read"])
    narrow = api_keys.issue(
        tenant=acme.tenant,
        name="Narrow",
        scopes=["usage:read", "models:read", "tenant:read"],
        allowed_models=["tiny", "old"],
    )
    tiny, other, old, unknown = nodes(told(acme, RECENT, secret=everything.secret))
    assert (tiny["version"]["state"], tiny["model"]["versions"]) == ("RETIRED", [{"version": "2.0.0"}])
    assert other["version"]["state"] == "LIVE"
    assert (old["version"]["state"], old["model"]) == ("RETIRED", {"name": "old", "versions": []})
    assert (unknown["modelName"], unknown["model"], unknown["version"]) == ("unknown", None, None)
    tiny, other, old, unknown = nodes(told(acme, RECENT, secret=narrow.secret))
    assert tiny["version"]["state"] == old["version"]["state"] == "RETIRED"
    assert (other["modelName"], other["model"], other["version"]) == ("other", None, None)


def test_each_node_asks_for_its_own_scope(acme: Customer, free_queries: None) -> None:
    make_version()
    UsageRecord.objects.bulk_create([record(acme, 0)])
    secret = api_keys.issue(tenant=acme.tenant, name="Narrow", scopes=["usage:read"]).secret
    answer = ask(
        acme,
        "{ tenant { recentPredictions { edges { node { requestId model { name } version { version } key { name } } } } } }",
        secret=secret,
    )
    assert nodes(answer.data) == [{"requestId": "request-0", "model": None, "version": None, "key": None}]
    assert sorted(error["extensions"]["requiredScope"] for error in answer.errors) == [
        "models:read",
        "models:read",
        "tenant:read",
    ]


def test_nothing_of_another_tenant(acme: Customer, globex: Customer, free_queries: None) -> None:
    UsageRecord.objects.bulk_create([record(globex, 0)])
    assert nodes(told(acme, RECENT)) == []
    (theirs,) = nodes(told(globex, RECENT))
    node = "query($id: ID!) { node(id: $id) { id } }"
    answer = ask(acme, node, {"id": theirs["id"]})
    assert answer.data == {"node": None}
    refused(answer, "NOT_FOUND", "node")
    assert told(globex, node, {"id": theirs["id"]})["node"] == {"id": theirs["id"]}


@pytest.fixture
def busy(acme: Customer, free_queries: None) -> None:
    make_version("tiny", "1.0.0")
    UsageRecord.objects.bulk_create([record(acme, 0)])
    metering_ledger.rebuild_day(clock.now().date())


def grow(customer: Customer) -> None:
    """Many rows of everything that the dashboard shows, each of other models, versions and keys."""
    for number in range(1, 30):
        make_version(f"model{number}", "1.0.0", VersionState.RETIRED)
        make_version(f"model{number}", "2.0.0")
        key = api_keys.issue(tenant=customer.tenant, name=f"Key {number}").key
        user = User.objects.create_user(f"person{number}@acme.example")
        Membership.objects.create(tenant=customer.tenant, user=user)
        metering_ledger.store(
            [
                record(
                    customer,
                    10 * number + half,
                    model=f"model{number}",
                    model_version=f"{half + 1}.0.0",
                    key_uid=key.uid,
                    occurred_at=clock.now() - dt.timedelta(hours=number),
                )
                for half in range(2)
            ]
        )


def test_the_dashboard_is_one_call_of_few_queries(
    acme: Customer, busy: None, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    # Tenant, plan, usage, members, predictions, keys and their secrets, retired versions and models.
    told(acme, DASHBOARD)
    with django_assert_num_queries(7):
        (one,) = nodes(told(acme, DASHBOARD))
    assert one["model"] == {"name": "tiny", "title": "", "liveVersion": {"version": "1.0.0"}}
    grow(acme)
    told(acme, DASHBOARD)
    with django_assert_num_queries(8):  # one more: retired versions are not in memory
        data = told(acme, DASHBOARD)
    found = nodes(data)
    assert len(found) == 50
    assert len({node["key"]["name"] for node in found}) > 20
    assert {node["version"]["state"] for node in found} == {"LIVE", "RETIRED"}
    assert len(data["tenant"]["members"]["edges"]) == 20
    assert len(data["tenant"]["usage"]["rows"]) >= 30
    assert data["tenant"]["usage"]["total"]["units"] == 59
    assert ModelVersion.objects.count() == 59
    assert spent(acme) == []


def test_what_was_taken_back_was_no_prediction(acme: Customer, tiny: TinyWorker) -> None:
    """Its call was told that nothing was charged; neither the record nor the one that takes it back is shown."""
    kept, wrong = record(acme, 1), record(acme, 2)
    metering_ledger.store([kept, wrong, usage_voids.counter_record(wrong)])
    assert [node["requestId"] for node in nodes(told(acme, RECENT))] == ["request-1"]
