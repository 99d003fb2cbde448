"""A real gRPC server on a free port in the test process, and calls of it as one of the cast.

Its threads must see the rows of the test's open transaction, so each of them is given the test's own SQL connection, as
Django's LiveServerTestCase does; a lock keeps their queries apart. A connection in a transaction is never closed by the
care of ``mlplatform/lib/sql_connections.py``.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from django.db import connection as test_connection
from django.db import connections
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from inference.grpc.generated import ml_inference_pb2 as pb
from inference.grpc.generated import ml_inference_pb2_grpc
from mlplatform.grpc_server import GrpcServer
from mlplatform.lib.errors import ErrorKind
from tests.conftest import Customer


@pytest.fixture
def grpc_server(db: None) -> Iterator[GrpcServer]:
    """A server whose threads read the rows of this test."""
    with_lock = _one_at_a_time()
    test_connection.inc_thread_sharing()
    shared = connections["default"]

    def prepare_thread() -> None:
        connections["default"] = shared

    test_connection.ensure_connection()
    with test_connection.execute_wrapper(with_lock):
        server = GrpcServer(host="127.0.0.1", port=0, prepare_thread=prepare_thread)
        server.start()
        yield server
        server.drain(0).wait(10)
        server.wait()
    test_connection.dec_thread_sharing()


def _one_at_a_time() -> Callable[..., Any]:
    lock = threading.RLock()

    def execute(run: Callable[..., Any], *arguments: Any) -> Any:
        with lock:
            return run(*arguments)

    return execute


@pytest.fixture
def grpc_target(grpc_server: GrpcServer) -> str:
    """Its address, ``host:port``."""
    return grpc_server.target


@dataclass(frozen=True)
class Answered:
    """A message with what came beside it; ``headers`` is the initial metadata, ``trailers`` the trailing one."""

    message: Any
    headers: dict[str, str]
    trailers: dict[str, str]


class Problem(Exception):
    """A status other than OK, with its google.rpc details by the name of their message."""

    def __init__(self, error: grpc.RpcError) -> None:
        call: Any = error
        super().__init__(f"{call.code()}: {call.details()}")
        self.code: grpc.StatusCode = call.code()
        self.message: str = call.details() or ""
        self.headers = text_metadata(call.initial_metadata())
        self.trailers = text_metadata(call.trailing_metadata())
        self.details = details_of(rpc_status.from_call(call))

    @property
    def reason(self) -> str:
        info: Any = self.details["ErrorInfo"]
        reason: str = info.reason
        return reason

    @property
    def field(self) -> str:
        bad: Any = self.details["BadRequest"]
        found: str = bad.field_violations[0].field
        return found


def details_of(status: status_pb2.Status | None) -> dict[str, Message]:
    """The details of a status, unpacked."""
    found: dict[str, Message] = {}
    for packed in status.details if status is not None else ():
        name = packed.TypeName().rpartition(".")[2]
        message = getattr(error_details_pb2, name)()
        packed.Unpack(message)
        found[name] = message
    return found


def text_metadata(pairs: Any) -> dict[str, str]:
    """Metadata without its binary values."""
    return {key: value for key, value in pairs or () if isinstance(value, str)}


class Grpc:
    """Calls as one customer, or without a key when ``customer`` is None."""

    def __init__(self, target: str, customer: Customer | None = None, *, secret: str = "") -> None:
        key = secret or (customer.secret if customer else "")
        self.auth = (("authorization", f"Bearer {key}"),) if key else ()
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 1000)]
        self.channel = grpc.insecure_channel(target, options=options)
        self.stub: Any = ml_inference_pb2_grpc.InferenceServiceStub(self.channel)

    def __enter__(self) -> "Grpc":
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def predict(
        self,
        request: Any = None,
        /,
        *,
        headers: Any = (),
        timeout: float = 30,
        wait_for_ready: bool = False,
        **fields: Any,
    ) -> Answered:
        """``fields`` of a PredictRequest, or the request itself."""
        message = request if request is not None else pb.PredictRequest(**fields)
        return self.call(self.stub.Predict, message, headers=headers, timeout=timeout, wait_for_ready=wait_for_ready)

    def batch(self, requests: Any, *, model_name: str = "", headers: Any = (), timeout: float = 30) -> Answered:
        message = pb.BatchPredictRequest(model_name=model_name, requests=requests)
        return self.call(self.stub.BatchPredict, message, headers=headers, timeout=timeout)

    def stream(self, requests: Any, *, headers: Any = (), timeout: float = 30) -> Any:
        """The call, to be iterated."""
        return self.stub.StreamPredict(requests, metadata=(*self.auth, *headers), timeout=timeout)

    def raw(self, method: str, data: bytes, *, headers: Any = ()) -> Answered:
        """A unary call of any method with any bytes; the answer's bytes are its message."""
        method_of: Any = self.channel.unary_unary
        return self.call(method_of(method), data, headers=headers, timeout=30)

    def call(
        self, method: Any, message: Any, *, headers: Any, timeout: float, wait_for_ready: bool = False
    ) -> Answered:
        try:
            answer, call = method.with_call(
                message, metadata=(*self.auth, *headers), timeout=timeout, wait_for_ready=wait_for_ready
            )
        except grpc.RpcError as error:
            raise Problem(error) from error
        return Answered(answer, text_metadata(call.initial_metadata()), text_metadata(call.trailing_metadata()))


def listens(target: str) -> bool:
    """Whether a new connection is taken."""
    with grpc.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=1)
        except grpc.FutureTimeoutError:
            return False
        return True


def assert_problem(problem: Problem, kind: ErrorKind, code: grpc.StatusCode, *words: str, field: str = "") -> None:
    """The status has this code, says the kind in its ErrorInfo, names the field, and its message has the words."""
    assert problem.code is code, problem
    info: Any = problem.details["ErrorInfo"]
    assert info.reason == kind.name
    assert info.domain == "mlplatform"
    assert info.metadata["request_id"] == problem.headers["x-request-id"] == problem.trailers["x-request-id"]
    for word in words:
        assert word in problem.message, problem.message
    if field:
        assert problem.field == field
