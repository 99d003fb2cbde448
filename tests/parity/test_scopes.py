"""Which key may do what, on every face: ``docs/scopes.md`` is the matrix, and the product is walked along it.

An operation that is added must take its place in it, or the first test fails.
"""

import json
from typing import Any, Final

import grpc
import pytest
from pytest_django import DjangoCaptureOnCommitCallbacks

from inference.grpc.generated import ml_inference_pb2 as pb
from inference.grpc.generated import open_inference_pb2 as oip_pb
from mlplatform.graphql import declarations
from mlplatform.schema import schema
from tenants import api_keys
from tenants.models import Event
from tenants.scopes import SCOPES
from tests.conftest import Customer
from tests.parity import operations
from tests.parity.operations import Operation
from tests.support import guides, ledger
from tests.support.grpc import Grpc, Problem
from tests.support.rest import Api
from tests.support.tiny_model import TinyWorker, make_version

pytestmark = pytest.mark.usefixtures("prices", "published_at_once")

GUIDE: Final = "scopes.md"
NO_KEY: Final = "no key"
ANY_KEY: Final = "any key"
_TENSORS: Final = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["hello"]}]}
_BODIES: Final[dict[str, dict[str, Any]]] = {
    "POST /v2/predict": {"model": "tiny", "input": "hello"},
    "POST /v2/models/{model}/predict": {"input": "hello"},
    "POST /v2/batch-predict": {"requests": [{"model": "tiny", "input": "hello"}]},
    "POST /oip/v2/models/{model}/infer": _TENSORS,
    "POST /oip/v2/models/{model}/versions/{version}/infer": _TENSORS,
    "POST /openai/v1/embeddings": {"model": "meaning", "input": "hello"},
}
"""What a call must say to come as far as its scope; others are judged by an empty body or none."""
_QUERIES: Final = {
    "query user": '{ user(id: "u") { id } }',
    "query users": '{ users(ids: ["u"]) { id } }',
    "query items": "{ items(first: 1) { edges { cursor } } }",
    "query predict": '{ predict(model: "tiny", inputData: "hello") { id } }',
    "query batchPredict": '{ batchPredict(models: ["tiny"], inputs: ["hello"]) { error { code message } } }',
    "query models": "{ models(first: 1) { edges { cursor } } }",
    "query model": '{ model(name: "tiny") { name } }',
    "query me": "{ me { __typename } }",
    "query tenant": "{ tenant { id } }",
    "query node": '{ node(id: "bm9uc2Vuc2U=") { id } }',
}
_MESSAGES: Final[dict[str, Any]] = {
    "ml_inference.InferenceService/Predict": pb.PredictRequest(model_name="tiny", text="hello"),
    "ml_inference.InferenceService/BatchPredict": pb.BatchPredictRequest(
        requests=[pb.PredictRequest(model_name="tiny", text="hello")]
    ),
    "ml_inference.InferenceService/StreamPredict": pb.PredictRequest(model_name="tiny", text="hello"),
    "inference.GRPCInferenceService/ServerLive": oip_pb.ServerLiveRequest(),
    "inference.GRPCInferenceService/ServerReady": oip_pb.ServerReadyRequest(),
    "inference.GRPCInferenceService/ServerMetadata": oip_pb.ServerMetadataRequest(),
    "inference.GRPCInferenceService/ModelReady": oip_pb.ModelReadyRequest(name="tiny"),
    "inference.GRPCInferenceService/ModelMetadata": oip_pb.ModelMetadataRequest(name="tiny"),
    "inference.GRPCInferenceService/ModelInfer": oip_pb.ModelInferRequest(
        model_name="tiny",
        inputs=[
            oip_pb.ModelInferRequest.InferInputTensor(
                name="text",
                shape=[1],
                datatype="BYTES",
                contents=oip_pb.InferTensorContents(bytes_contents=[b"hello"]),
            )
        ],
    ),
}


@pytest.fixture(autouse=True)
def models(tiny_worker: TinyWorker) -> None:
    tiny_worker.serve(make_version("tiny"))
    tiny_worker.serve(make_version("meaning", runtime="text-embedding", output_schema={"kind": "embedding"}, labels=[]))


def matrix() -> dict[Operation, str]:
    """The scope of each operation, as the document says it."""
    rows = guides.table(GUIDE, "face")
    found = {Operation(face, name): scope for face, name, scope in rows}
    assert len(found) == len(rows)
    return found


def refusal(operation: Operation, target: str, secret: str) -> str | None:
    """The refusal's words if the key may not, with the scope that it lacks; None if it may, whatever comes of the call."""
    if operation.face == "gRPC":
        return _refused_over_grpc(operation.name, target, secret)
    api = Api(secret=secret)
    if operation.face == "GraphQL":
        answer = api.post("/graphql", {"query": _QUERIES[operation.name]})
        items = [item for row in (answer.body.get("data") or {}).get("batchPredict") or () for item in row]
        if items and items[0]["error"] and items[0]["error"]["code"] == "FORBIDDEN":
            return str(items[0]["error"]["message"])
        denied = [one for one in answer.body.get("errors", ()) if one["extensions"]["code"] == "FORBIDDEN"]
        refused = [
            one for one in answer.body.get("errors", ()) if one["extensions"]["code"] == "TRUSTED_DOCUMENTS_ONLY"
        ]
        return next((one["message"] for one in denied or refused), None)
    method, _, path = operation.name.partition(" ")
    path = path.format(
        model="tiny", version="1.0.0", deprecation_id="1", external_id="u", item_id="i", request_id="r", key="k"
    )
    body = _BODIES.get(operation.name, {})
    answer = api.call(method, path, content=b"" if method in {"GET", "DELETE"} else json.dumps(body).encode())
    assert answer.status != 405
    return answer.content.decode() if answer.status == 403 else None


def _refused_over_grpc(name: str, target: str, secret: str) -> str | None:
    handler = operations.handlers()[name]
    message = _MESSAGES[name]
    with Grpc(target, secret=secret) as client:
        call: Any = client.channel.stream_stream if handler.request_streaming else client.channel.unary_unary
        method = call(f"/{name}", lambda sent: sent.SerializeToString(), lambda data: data)
        try:
            if not handler.request_streaming:
                method(message, metadata=client.auth, timeout=30)
                return None
            answers = [
                pb.PredictResponse.FromString(one) for one in method(iter([message]), metadata=client.auth, timeout=30)
            ]
        except grpc.RpcError as error:
            problem = Problem(error)
            info: Any = problem.details.get("ErrorInfo")
            denied = problem.code is grpc.StatusCode.PERMISSION_DENIED
            return f"{problem.message} {dict(info.metadata) if info else ''}" if denied else None
    refused = [one.status.message for one in answers if one.status.code == grpc.StatusCode.PERMISSION_DENIED.value[0]]
    return refused[0] if refused else None


def _secret(customer: Customer, *scopes: str, **fields: Any) -> str:
    return api_keys.issue(tenant=customer.tenant, name="Other", scopes=list(scopes), **fields).secret


def test_every_operation_has_its_place_and_every_place_an_operation() -> None:
    assert set(matrix()) == operations.all_of_them()
    assert set(matrix().values()) <= {*SCOPES, ANY_KEY, NO_KEY}
    rows = {(name, scope) for name, scope in guides.table(GUIDE, "field")}
    declared = declarations.of(schema.graphql_schema).fields.items()
    asked = {(f"{type_}.{field}", cost.scope) for (type_, field), cost in declared if cost.scope and type_ != "Query"}
    assert rows == asked


def test_a_key_without_the_scope_is_refused_and_one_with_it_alone_is_not(acme: Customer, grpc_target: str) -> None:
    scoped = {operation: scope for operation, scope in matrix().items() if scope in SCOPES}
    without = {scope: _secret(acme, *(one for one in SCOPES if one != scope)) for scope in set(scoped.values())}
    alone = {scope: _secret(acme, scope) for scope in set(scoped.values())}
    for operation, scope in scoped.items():
        refused = refusal(operation, grpc_target, without[scope])
        assert refused is not None, operation
        assert f"'{scope}'" in refused, (operation, refused)
    assert ledger.units(acme.tenant) == 0
    for operation, scope in scoped.items():
        # A key may lack more than a scope: models on sale are managed by operators.
        assert "lacks the scope" not in (refusal(operation, grpc_target, alone[scope]) or ""), operation


def test_what_asks_for_no_scope_answers_the_poorest_key(acme: Customer, grpc_target: str) -> None:
    secret = _secret(acme, "jobs:read")
    for operation, scope in matrix().items():
        if scope in {ANY_KEY, NO_KEY}:
            assert refusal(operation, grpc_target, secret) is None, operation


def test_a_key_for_trusted_documents_runs_nothing_else_on_any_face(acme: Customer, grpc_target: str) -> None:
    secret = _secret(acme, *SCOPES, trusted_documents_only=True)
    events = Event.objects.count()
    for operation, scope in matrix().items():
        refused = refusal(operation, grpc_target, secret)
        if scope == NO_KEY:
            assert refused is None, operation
        else:
            assert "trusted documents only" in (refused or ""), (operation, refused)
    assert ledger.units(acme.tenant) == 0
    assert Event.objects.count() == events


def test_a_key_that_is_no_longer_limited_is_taken_at_once(
    acme: Customer, grpc_target: str, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    issued = api_keys.issue(tenant=acme.tenant, name="App", scopes=["predict"], trusted_documents_only=True)
    wanted = [Operation("REST", "POST /v2/predict"), Operation("gRPC", "ml_inference.InferenceService/Predict")]
    for operation in wanted:
        assert refusal(operation, grpc_target, issued.secret) is not None
    issued.key.trusted_documents_only = False
    issued.key.save()
    with django_capture_on_commit_callbacks(execute=True):
        api_keys.changed(key=issued.key)
    for operation in wanted:
        assert refusal(operation, grpc_target, issued.secret) is None


def test_a_revoked_key_for_trusted_documents_is_told_that_and_no_more(
    acme: Customer, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    issued = api_keys.issue(tenant=acme.tenant, name="App", scopes=["predict"], trusted_documents_only=True)
    assert Api(secret=issued.secret).get("/v2/me").status == 403
    with django_capture_on_commit_callbacks(execute=True):
        api_keys.revoke(key=issued.key)
    assert Api(secret=issued.secret).get("/v2/me").status == 401
