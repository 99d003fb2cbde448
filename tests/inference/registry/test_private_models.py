"""A model that is another tenant's own answers exactly as one that does not exist, on every face; its owner uses it as any."""

from typing import Any

import pytest

from inference.grpc.generated import ml_inference_pb2 as pb
from inference.models import MLModel, ModelVersion
from inference.registry import versions
from tenants import api_keys
from tenants.graphql import ids
from tests.conftest import Customer
from tests.support import ledger
from tests.support.ending import make_schedule
from tests.support.graphql import ask
from tests.support.grpc import Grpc, Problem, grpc_server, grpc_target
from tests.support.rest import Answer, Api
from tests.support.rollouts import heard, used
from tests.support.tiny_model import TinyWorker, make_version

__all__ = ["grpc_server", "grpc_target"]

pytestmark = pytest.mark.usefixtures("prices")

CALLS: list[tuple[str, str, Any]] = [
    ("POST", "/v1/predict", {"model": "reviews", "input": "hello"}),
    ("POST", "/v1.1/predict", {"model": "reviews", "input": "hello"}),
    ("POST", "/v2/predict", {"model": "reviews", "input": "hello"}),
    ("POST", "/v2/predict", {"model": "reviews@1.0.0", "input": "hello"}),
    ("POST", "/v2/predict", {"model": "reviews@0.9.0", "input": "hello"}),
    ("POST", "/v2/predict", {"model": "acme/reviews", "input": "hello"}),
    ("POST", "/v2/predict", {"model": "acme/reviews@1.0.0", "input": "hello"}),
    ("POST", "/v2/predict", {"model": "acme/reviews@0.9.0", "input": "hello"}),
    ("POST", "/v2/batch-predict", {"requests": [{"model": "acme/reviews@0.9.0", "input": "hello"}]}),
    ("POST", "/v2/models/acme~reviews/predict", {"input": "hello"}),
    ("GET", "/v2/models/acme~reviews", None),
    ("GET", "/oip/v2/models/acme~reviews", None),
    ("POST", "/openai/v1/embeddings", {"model": "acme/reviews@0.9.0", "input": "hello"}),
    ("POST", "/v2/models/reviews/predict", {"input": "hello"}),
    ("POST", "/v2/batch-predict", {"requests": [{"model": "reviews", "input": "hello"}]}),
    ("GET", "/v2/models/reviews", None),
    ("GET", "/oip/v2/models/reviews", None),
    ("GET", "/oip/v2/models/reviews/ready", None),
    ("GET", "/oip/v2/models/reviews/versions/1.0.0", None),
    (
        "POST",
        "/oip/v2/models/reviews/infer",
        {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["hello"]}]},
    ),
    ("POST", "/openai/v1/embeddings", {"model": "reviews", "input": "hello"}),
    ("GET", "/openai/v1/models/reviews", None),
]


@pytest.fixture
def private(acme: Customer, tiny_worker: TinyWorker) -> ModelVersion:
    """``reviews`` is acme's own: 1.0.0 is live, 0.9.0 ended."""
    version = make_version("reviews")
    make_version("reviews", "0.9.0", "retired")
    tiny_worker.serve(version)
    MLModel.objects.filter(name="reviews").update(owner=acme.tenant)
    versions.forget()
    return version


def send(api: Api, method: str, path: str, body: Any) -> Answer:
    return api.post(path, body) if body is not None else api.call(method, path)


def without_names(answer: Answer) -> str:
    text = answer.content.decode().replace("reviews", "nothing")
    for of_the_call in (answer.headers.get("X-Request-Id", "-"),):
        text = text.replace(of_the_call, "")
    return text


def renamed(body: Any) -> Any:
    if isinstance(body, dict):
        return {name: renamed(value) for name, value in body.items()}
    if isinstance(body, list):
        return [renamed(value) for value in body]
    return body.replace("reviews", "nothing") if isinstance(body, str) else body


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
def test_a_foreign_private_model_answers_as_a_missing_one(
    private: ModelVersion, ended_schedule: None, globex: Customer, method: str, path: str, body: Any
) -> None:
    api = Api(globex)
    foreign = send(api, method, path, body)
    missing = send(api, method, path.replace("reviews", "nothing"), renamed(body))
    assert foreign.status == missing.status
    if "batch" not in path:
        assert foreign.status == 404
    assert without_names(foreign) == without_names(missing)
    assert set(foreign.headers) == set(missing.headers)
    ledger.assert_untouched(globex)


def test_an_announced_end_of_it_is_told_to_no_other_tenant(
    private: ModelVersion, acme: Customer, globex: Customer, published_schedule: None
) -> None:
    pinned = {"model": "reviews@0.9.0", "input": "hello"}
    gone = Api(acme).post("/v2/predict", pinned)
    foreign = Api(globex).post("/v2/predict", pinned)
    assert gone.status in {404, 410}
    assert foreign.status == 404
    assert "Sunset" not in foreign.headers
    assert [one["subject"] for one in Api(globex).get("/v2/deprecations").body["deprecations"]] == []
    assert [one["subject"] for one in Api(acme).get("/v2/deprecations").body["deprecations"]] == ["acme/reviews@0.9.0"]
    for page in ("/docs/changelog", "/docs/changelog.atom", "/docs/migrate"):
        answer = Api().get(page)
        assert answer.status == 200
        assert b"reviews" not in answer.content
    assert b"reviews" not in Api(globex).get("/docs/migrate").content


def test_its_owner_reads_its_migration_guide_with_a_key(
    private: ModelVersion, acme: Customer, globex: Customer, published_schedule: None
) -> None:
    guide = "/docs/migrate/acme/reviews@0.9.0-1.0.0"
    linked = Api(acme).post("/v2/predict", {"model": "reviews@0.9.0", "input": "hello"}).headers["Link"]
    own = Api(acme).get(guide)
    assert guide in linked
    assert (own.status, own.headers["Cache-Control"]) == (200, "private, no-store")
    assert b"Use the successor." in own.content
    assert guide.encode() in Api(acme).get("/docs/migrate").content
    assert [Api().get(guide).status, Api(globex).get(guide).status] == [404, 404]
    for page in (guide, "/docs/migrate"):
        assert {"Authorization", "X-API-Key"} <= set(Api(acme).get(page).headers["Vary"].split(", "))


def test_a_revoked_key_reads_no_guide(private: ModelVersion, acme: Customer, published_schedule: None) -> None:
    guide = "/docs/migrate/acme/reviews@0.9.0-1.0.0"
    assert Api(acme).get(guide).status == 200
    api_keys.revoke(key=acme.key)
    answer = Api(acme).get(guide)
    assert (answer.status, answer.body["type"]) == (401, "/docs/problems#unauthenticated")
    assert "Authorization" in answer.headers["Vary"]


@pytest.fixture
def published_schedule(private: ModelVersion) -> None:
    """The end of ``acme/reviews@0.9.0`` is announced to all tenants that it concerns."""
    make_schedule("model_version", "acme/reviews@0.9.0", "acme/reviews@1.0.0")


@pytest.fixture
def ended_schedule(private: ModelVersion) -> None:
    """The same, and over."""
    make_schedule("model_version", "acme/reviews@0.9.0", "acme/reviews@1.0.0", sunset_in_days=-1)


def test_lists_show_it_to_its_owner_only(private: ModelVersion, acme: Customer, globex: Customer) -> None:
    make_version("public")
    query = "{ models(first: 10) { edges { node { name versions { reference } } } } }"
    for customer, expected in ((acme, ["public", "reviews"]), (globex, ["public"])):
        api = Api(customer)
        assert [model["name"] for model in api.get("/v2/models").body["models"]] == expected
        answer = ask(api, query)
        assert [edge["node"]["name"] for edge in answer.body["data"]["models"]["edges"]] == expected


def test_graphql_knows_it_for_its_owner_only(private: ModelVersion, acme: Customer, globex: Customer) -> None:
    query = "query Q($name: String!) { model(name: $name) { name } }"
    assert ask(Api(acme), query, {"name": "reviews"}).body["data"]["model"] == {"name": "reviews"}
    foreign = ask(Api(globex), query, {"name": "reviews"}).body["errors"][0]
    missing = ask(Api(globex), query, {"name": "nothing"}).body["errors"][0]
    assert foreign["message"].replace("reviews", "nothing") == missing["message"]
    assert foreign["extensions"]["code"] == missing["extensions"]["code"] == "NOT_FOUND"
    nodes = "query N($id: ID!) { node(id: $id) { id } }"
    for key in (ids.encode("Model", "acme/reviews"), ids.encode("ModelVersion", "acme/reviews@0.9.0")):
        assert ask(Api(acme), nodes, {"id": key}).body["data"]["node"] == {"id": key}
        assert (ask(Api(globex), nodes, {"id": key}).body.get("data") or {"node": None})["node"] is None


def test_its_owner_uses_it_as_any(private: ModelVersion, acme: Customer) -> None:
    answer = Api(acme).post("/v2/predict", {"model": "reviews", "input": "hello"})
    assert (answer.status, answer.body["model_version"]) == (200, "1.0.0")
    assert Api(acme).get("/oip/v2/models/reviews").body["versions"] == ["1.0.0"]


def test_grpc_answers_others_as_for_a_missing_one(
    private: ModelVersion, acme: Customer, globex: Customer, grpc_target: str
) -> None:
    def refused(name: str) -> tuple[Any, str]:
        with Grpc(grpc_target, secret=globex.secret) as client, pytest.raises(Problem) as error:
            client.predict(model_name=name, text="hello")
        return error.value.code, error.value.message.replace(name, "…")

    assert refused("reviews") == refused("nothing")
    with Grpc(grpc_target, secret=acme.secret) as client:
        assert isinstance(client.predict(model_name="reviews", text="hello").message, pb.PredictResponse)


def test_others_hear_nothing_of_it(private: ModelVersion, acme: Customer, globex: Customer) -> None:
    used("reviews", [globex.tenant])
    versions.promote(version=make_version("reviews", "2.0.0", "ready"))
    assert heard(acme.tenant) == ["promoted 2.0.0"]
    assert heard(globex.tenant) == []
