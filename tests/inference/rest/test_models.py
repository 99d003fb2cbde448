"""``GET /v2/models`` and ``/v2/models/{model}``: what the key may see."""

import pytest

from inference.models import MLModel, ModelVersion
from inference.registry import versions
from mlplatform.lib.errors import ErrorKind
from tenants import api_keys
from tests.conftest import Customer
from tests.support import ledger
from tests.support.measured import FLOAT32, INT8, measured
from tests.support.rest import Api, assert_limit_headers, assert_problem

pytestmark = pytest.mark.usefixtures("prices", "demo_models")


def test_every_model_with_its_versions_and_price(acme: Customer) -> None:
    answer = Api(acme).get("/v2/models")
    assert answer.status == 200
    models = {model["name"]: model for model in answer.body["models"]}
    assert set(models) == {"digits", "minilm", "recommender", "sentiment"}
    sentiment = models["sentiment"]
    assert sentiment["live_version"] == "1.0.0"
    assert [(version["version"], version["state"]) for version in sentiment["versions"]] == [
        ("1.0.0", "live"),
        ("2.0.0", "ready"),
    ]
    assert sentiment["price"] == {"units_per_call": 0, "units_per_input": 1, "units_per_cached_input": 0}
    assert 0.7 < sentiment["versions"][0]["accuracy"] < 1
    assert "held-out" in sentiment["versions"][0]["accuracy_note"]
    assert models["minilm"]["versions"][0]["output"] == {"kind": "embedding", "dimensions": 384}
    assert models["digits"]["versions"][0]["input"]["shape"] == [8, 8]
    assert_limit_headers(answer)
    ledger.assert_untouched(acme)


def test_one_model(acme: Customer) -> None:
    api = Api(acme)
    answer = api.get("/v2/models/digits")
    assert answer.status == 200
    (listed,) = [model for model in api.get("/v2/models").body["models"] if model["name"] == "digits"]
    assert answer.body == listed


def test_a_version_says_how_good_and_how_fast_each_option_is(acme: Customer) -> None:
    measured(ModelVersion.objects.get(model__name="sentiment", version="1.0.0"), INT8)
    measured(ModelVersion.objects.get(model__name="sentiment", version="1.0.0"))
    old, new = Api(acme).get("/v2/models/sentiment").body["versions"]
    assert (old["precision"], old["acceleration"]) == ("float32", "none")
    assert old["measurements"] == [
        {
            "precision": option.precision,
            "acceleration": "none",
            "device": "Some Processor",
            "threads": 1,
            "accuracy": option.accuracy,
            "inputs": 3222,
            "data": "held-out texts",
            "inputs_per_s": round(option.inputs_per_s, 1),
            "alone_ms": option.alone_ms,
            "measured_at": "2026-11-23T08:30:00+00:00",
        }
        for option in (FLOAT32, INT8)
    ]
    assert new["measurements"] == []


def test_what_was_measured_of_a_private_model_is_told_to_its_owner_only(acme: Customer, globex: Customer) -> None:
    measured(ModelVersion.objects.get(model__name="digits"), device="Secret Processor")
    MLModel.objects.filter(name="digits").update(owner=acme.tenant)
    versions.forget()
    assert b"Secret Processor" in Api(acme).get("/v2/models").content
    assert b"Secret Processor" not in Api(globex).get("/v2/models").content
    assert_problem(Api(globex).get("/v2/models/digits"), ErrorKind.NOT_FOUND)


def test_a_retired_version_is_not_told(acme: Customer) -> None:
    versions.retire(version=ModelVersion.objects.get(model__name="sentiment", version="2.0.0"))
    versions.forget()
    assert [version["version"] for version in Api(acme).get("/v2/models/sentiment").body["versions"]] == ["1.0.0"]


def test_a_key_sees_its_allowed_models_only(acme: Customer) -> None:
    narrow = api_keys.issue(tenant=acme.tenant, name="Narrow", allowed_models=["digits"])
    api = Api(secret=narrow.secret)
    assert [model["name"] for model in api.get("/v2/models").body["models"]] == ["digits"]
    hidden, missing = api.get("/v2/models/sentiment"), api.get("/v2/models/no-such")
    assert_problem(hidden, ErrorKind.NOT_FOUND)
    assert hidden.body["detail"].replace("sentiment", "no-such") == missing.body["detail"]


@pytest.mark.parametrize("path", ["/v2/models", "/v2/models/digits"])
def test_a_key_without_the_scope(acme: Customer, path: str) -> None:
    blind = api_keys.issue(tenant=acme.tenant, name="Blind", scopes=["predict"])
    assert_problem(Api(secret=blind.secret).get(path), ErrorKind.FORBIDDEN, "'models:read'")
