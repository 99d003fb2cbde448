"""``models`` and ``model(name)``: what the key may use, with versions, prices and announced ends."""

import datetime as dt

import pytest
from pytest_django import DjangoAssertNumQueries

from inference.models import ModelVersion, VersionState
from tenants import api_keys
from tenants.deprecations import schedules
from tests.conftest import Customer
from tests.support.ending import make_schedule
from tests.support.graphql_schema import ask, refused, told
from tests.support.measured import INT8, measured
from tests.support.rest import Api
from tests.support.tiny_model import make_version

pytestmark = pytest.mark.usefixtures("free_queries")

MODELS = """{ models { edges { node { id name title description liveVersion { version }
    price { perCall perInput perCachedInput }
    versions { id version reference state live task inputSchema outputSchema labels accuracy accuracyNote maxBatchSize
               precision acceleration measurements { precision acceleration device threads accuracy inputs data
                   inputsPerS aloneMs measuredAt }
               deprecation { deprecatedAt sunsetAt successor guide reason } model { name } } } } } }"""
NODE = "query($id: ID!) { node(id: $id) { __typename id } }"


def test_models_as_rest_has_them(acme: Customer) -> None:
    make_version("tiny", "1.0.0", VersionState.READY)
    measured(make_version("tiny", "1.10.0", accuracy=0.91, accuracy_note="Held out.", precision="int8"))
    measured(ModelVersion.objects.get(version="1.10.0"), INT8)
    make_version("tiny", "2.0.0", VersionState.STAGED)
    make_version("large", "1.0.0")
    found = [edge["node"] for edge in told(acme, MODELS)["models"]["edges"]]
    rest = Api(acme).get("/v2/models").body["models"]
    assert [model["name"] for model in found] == ["large", "tiny"]
    for shown, known in zip(found, rest, strict=True):
        assert shown["liveVersion"]["version"] == known["live_version"]
        assert list(shown["price"].values()) == list(known["price"].values())
        for version, row in zip(shown["versions"], known["versions"], strict=True):
            assert version["version"] == row["version"]
            assert version["state"].lower() == row["state"]
            assert version["reference"] == f"{shown['name']}@{version['version']}"
            assert (version["task"], version["inputSchema"], version["outputSchema"]) == (
                row["task"],
                row["input"],
                row["output"],
            )
            assert (version["labels"], version["accuracy"]) == (row["labels"], row["accuracy"])
            assert version["accuracyNote"] == (row["accuracy_note"] or None)
            assert version["maxBatchSize"] == row["max_batch_size"]
            assert (version["precision"], version["acceleration"]) == (row["precision"], row["acceleration"])
            assert [list(one.values()) for one in version["measurements"]] == [
                list(one.values()) for one in row["measurements"]
            ]
            assert len(version["measurements"]) == (2 if version["version"] == "1.10.0" else 0)
            assert version["deprecation"] is None
            assert version["model"] == {"name": shown["name"]}


def test_an_announced_end(acme: Customer, globex: Customer) -> None:
    make_version("tiny", "1.0.0", VersionState.READY)
    make_version("tiny", "2.0.0")
    row = make_schedule("model_version", "tiny@1.0.0", "tiny@2.0.0")
    until = row.sunset_at + dt.timedelta(days=60)
    schedules.grant_extension(
        schedule=row, tenant=globex.tenant, until=until, reason="They asked.", approved_by=acme.owner
    )
    query = (
        '{ model(name: "tiny") { versions { version deprecation { deprecatedAt sunsetAt successor guide reason } } } }'
    )
    old, live = told(acme, query)["model"]["versions"]
    assert live["deprecation"] is None
    assert old["deprecation"] == {
        "deprecatedAt": row.deprecate_at.isoformat(),
        "sunsetAt": row.sunset_at.isoformat(),
        "successor": "tiny@2.0.0",
        "guide": "/docs/migrate/tiny@1.0.0-2.0.0",
        "reason": "Its successor says more.",
    }
    assert told(globex, query)["model"]["versions"][0]["deprecation"]["sunsetAt"] == until.isoformat()


def test_an_end_that_is_not_announced_is_a_secret(acme: Customer) -> None:
    make_version("tiny", "1.0.0", VersionState.READY)
    make_version("tiny", "2.0.0")
    make_schedule("model_version", "tiny@1.0.0", "tiny@2.0.0", announced_days_ago=-1, deprecated_days_ago=-2)
    (old, _) = told(acme, '{ model(name: "tiny") { versions { deprecation { reason } } } }')["model"]["versions"]
    assert old["deprecation"] is None


def test_a_model_that_the_key_may_not_use_does_not_exist(acme: Customer) -> None:
    make_version("tiny")
    make_version("secret")
    secret = api_keys.issue(tenant=acme.tenant, name="Narrow", scopes=["models:read"], allowed_models=["tiny"]).secret
    edges = told(acme, "{ models { edges { node { name } } } }", secret=secret)["models"]["edges"]
    assert [edge["node"]["name"] for edge in edges] == ["tiny"]
    one = "query($name: String!) { model(name: $name) { name } }"
    forbidden, unknown = (ask(acme, one, {"name": name}, secret=secret) for name in ("secret", "xxxxxx"))
    assert forbidden.data == unknown.data == {"model": None}
    refused(forbidden, "NOT_FOUND", "model", field="name")
    assert forbidden.errors[0]["message"].replace("secret", "xxxxxx") == unknown.errors[0]["message"]
    (edge,) = [edge for edge in told(acme, MODELS)["models"]["edges"] if edge["node"]["name"] == "secret"]
    for global_id in (edge["node"]["id"], edge["node"]["versions"][0]["id"]):
        assert told(acme, NODE, {"id": global_id})["node"]["id"] == global_id
        answer = ask(acme, NODE, {"id": global_id}, secret=secret)
        assert answer.data == {"node": None}
        refused(answer, "NOT_FOUND", "node")


@pytest.mark.parametrize("field", ["models { edges { node { name } } }", 'model(name: "tiny") { name }'])
def test_without_the_scope(acme: Customer, field: str) -> None:
    make_version("tiny")
    secret = api_keys.issue(tenant=acme.tenant, name="Narrow", scopes=["usage:read"]).secret
    answer = ask(acme, f"{{ me {{ keyName }} {field} }}", secret=secret)
    name = field.split("(")[0].split()[0]
    assert answer.data == {"me": {"keyName": "Narrow"}, name: None}
    assert refused(answer, "FORBIDDEN", name)["extensions"]["requiredScope"] == "models:read"


def test_nodes(acme: Customer) -> None:
    make_version("tiny", "1.0.0", VersionState.RETIRED)
    make_version("tiny", "2.0.0")
    make_version("tiny", "3.0.0", VersionState.STAGED)
    model = told(acme, '{ model(name: "tiny") { id versions { id version } } }')["model"]
    (live,) = model["versions"]
    assert told(acme, NODE, {"id": model["id"]})["node"] == {"__typename": "Model", "id": model["id"]}
    assert told(acme, NODE, {"id": live["id"]})["node"] == {"__typename": "ModelVersion", "id": live["id"]}
    retired = "TW9kZWxWZXJzaW9uOnRpbnlAMS4wLjA"  # ModelVersion:tiny@1.0.0
    measured(ModelVersion.objects.get(version="1.0.0"), INT8)
    query = (
        "query($id: ID!) { node(id: $id) { ... on ModelVersion { reference state live measurements { accuracy } } } }"
    )
    assert told(acme, query, {"id": retired})["node"] == {
        "reference": "tiny@1.0.0",
        "state": "RETIRED",
        "live": False,
        "measurements": [{"accuracy": INT8.accuracy}],
    }
    staged = ask(acme, NODE, {"id": "TW9kZWxWZXJzaW9uOnRpbnlAMy4wLjA"})
    refused(staged, "NOT_FOUND", "node")


def test_no_query_however_many_models(acme: Customer, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    make_version("tiny", "1.0.0", VersionState.READY)
    make_version("tiny", "2.0.0")
    make_schedule("model_version", "tiny@1.0.0", "tiny@2.0.0")
    told(acme, MODELS)
    with django_assert_num_queries(1):  # the reasons of the ends
        told(acme, MODELS)
    for number in range(10):
        measured(make_version(f"model{number}", "1.0.0", VersionState.READY))
        make_version(f"model{number}", "2.0.0")
        make_schedule("model_version", f"model{number}@1.0.0", f"model{number}@2.0.0")
    told(acme, MODELS)
    with django_assert_num_queries(1):
        found = told(acme, MODELS)
    assert len(found["models"]["edges"]) == 11
    assert ModelVersion.objects.count() == 22
