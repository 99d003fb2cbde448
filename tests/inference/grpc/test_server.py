"""What a server does beside predicting: reflection, deadlines, cancellation, limits of itself, TLS, the drain."""

import datetime as dt
import ipaddress
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.core.checks import run_checks
from google.protobuf import descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from inference.fleet.workers import Heartbeat
from inference.grpc import compile_protos
from inference.grpc.calls import peer_address
from inference.grpc.generated import ml_inference_pb2 as pb
from mlplatform.grpc_server import GrpcServer
from tests.conftest import Customer
from tests.support import ledger
from tests.support.grpc import Grpc, Problem
from tests.support.tiny_model import TinyWorker
from tests.support.waiting import until

SERVICE = "ml_inference.InferenceService"


def test_the_generated_code_is_that_of_the_protos(tmp_path: Path) -> None:
    for made in compile_protos.compile_to(tmp_path):
        assert made.read_text() == (compile_protos.GENERATED / made.name).read_text(), "run make protos"


def test_the_fields_of_the_contract_keep_their_numbers() -> None:
    numbers = {
        name: {field.name: field.number for field in message.fields}
        for name, message in pb.DESCRIPTOR.message_types_by_name.items()
    }
    assert numbers["PredictRequest"].items() >= {"model_name": 1, "features": 2, "metadata": 3}.items()
    assert numbers["Prediction"].items() >= {"label": 1, "score": 2}.items()
    assert numbers["PredictResponse"].items() >= {"predictions": 1, "model_version": 2, "latency_ms": 3}.items()
    assert numbers["BatchPredictRequest"].items() >= {"model_name": 1, "requests": 2}.items()
    assert numbers["BatchPredictResponse"].items() >= {"responses": 1}.items()


def test_reflection_is_enough_to_call(grpc_target: str, api: Grpc, acme: Customer) -> None:
    """As grpcurl does: everything is learnt from the server, nothing from our generated code."""
    with grpc.insecure_channel(grpc_target) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        services = set(database.get_services())
        assert {SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"} <= services
        pool: Any = descriptor_pool.DescriptorPool(database)
        method = pool.FindServiceByName(SERVICE).FindMethodByName("Predict")
        request_class: Any = message_factory.GetMessageClass(method.input_type)
        answer_class: Any = message_factory.GetMessageClass(method.output_type)
        unary: Any = channel.unary_unary
        call = unary(
            f"/{SERVICE}/Predict",
            request_serializer=request_class.SerializeToString,
            response_deserializer=answer_class.FromString,
        )
        answer = call(request_class(model_name="tiny", text="x"), metadata=api.auth, timeout=30)
    assert answer.model_version == "1.0.0"


def test_reflection_leaves_threads_for_calls(request: pytest.FixtureRequest, settings: Any) -> None:
    """It needs no key, so a client that keeps it open must not keep others out."""
    settings.GRPC_THREADS = 32
    api: Grpc = request.getfixturevalue("api")
    over = threading.Event()

    def one_and_then_nothing() -> Iterator[Any]:
        yield reflection_pb2.ServerReflectionRequest(list_services="")
        over.wait(60)

    stub: Any = reflection_pb2_grpc.ServerReflectionStub(api.channel)
    opened = [stub.ServerReflectionInfo(one_and_then_nothing(), timeout=60) for _ in range(2)]
    for call in opened:
        assert next(call).list_services_response.service
    with pytest.raises(grpc.RpcError) as error:
        next(stub.ServerReflectionInfo(one_and_then_nothing(), timeout=60))
    assert Problem(error.value).code is grpc.StatusCode.RESOURCE_EXHAUSTED
    over.set()
    for call in opened:
        assert list(call) == []
    until(lambda: _reflection_answers(stub), bool)


def _reflection_answers(stub: Any) -> bool:
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    try:
        return len(list(stub.ServerReflectionInfo(iter([request]), timeout=60))) == 1
    except grpc.RpcError:
        return False


def test_a_deadline_that_passes_costs_nothing(api: Grpc, acme: Customer, tiny_worker: TinyWorker) -> None:
    tiny_worker.go.clear()
    with pytest.raises(Problem) as problem:
        api.predict(model_name="tiny", text="x", timeout=0.3)
    assert problem.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    until(lambda: ledger.holds(acme.tenant), lambda holds: holds == 0)
    assert ledger.records(acme.tenant) == []
    tiny_worker.go.set()


def test_a_model_that_is_too_slow_for_the_service(
    api: Grpc, acme: Customer, tiny_worker: TinyWorker, settings: Any
) -> None:
    settings.PREDICT_TIMEOUT_S = 0.2
    tiny_worker.go.clear()
    with pytest.raises(Problem) as problem:
        api.predict(model_name="tiny", text="x", timeout=30)
    assert problem.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert problem.value.reason == "TIMEOUT"
    tiny_worker.go.set()
    assert ledger.holds(acme.tenant) == 0
    assert ledger.records(acme.tenant) == []


def test_a_canceled_call_gives_back_what_it_held(api: Grpc, acme: Customer, tiny_worker: TinyWorker) -> None:
    tiny_worker.go.clear()
    future = api.stub.Predict.future(pb.PredictRequest(model_name="tiny", text="x"), metadata=api.auth, timeout=30)
    until(lambda: ledger.holds(acme.tenant), lambda holds: holds == 1)
    future.cancel()
    until(lambda: ledger.holds(acme.tenant), lambda holds: holds == 0)
    tiny_worker.go.set()
    assert ledger.records(acme.tenant) == []


def test_more_calls_than_it_can_keep_are_refused_at_once(
    request: pytest.FixtureRequest, tiny_worker: TinyWorker, settings: Any
) -> None:
    settings.GRPC_THREADS = 2
    api: Grpc = request.getfixturevalue("api")
    acme: Customer = request.getfixturevalue("acme")
    tiny_worker.go.clear()

    def code(number: int) -> str:
        try:
            api.predict(model_name="tiny", text=f"x{number}")
        except Problem as problem:
            return problem.code.name
        return "OK"

    with ThreadPoolExecutor(20) as pool:
        codes = [pool.submit(code, number) for number in range(20)]
        until(lambda: sum(one.done() for one in codes), lambda done: done >= 12)
        tiny_worker.go.set()
        seen = [one.result() for one in codes]
    assert set(seen) == {"OK", "RESOURCE_EXHAUSTED"}
    assert seen.count("OK") == 8
    assert ledger.units(acme.tenant) == 8


def test_calls_leave_their_places_however_they_end(
    request: pytest.FixtureRequest, tiny_worker: TinyWorker, settings: Any
) -> None:
    settings.GRPC_THREADS = 1  # four places
    api: Grpc = request.getfixturevalue("api")
    acme: Customer = request.getfixturevalue("acme")
    unary: Any = api.channel.unary_unary
    send = unary(f"/{SERVICE}/Predict")
    tiny_worker.go.clear()
    for _ in range(5):
        with pytest.raises(grpc.RpcError) as malformed:
            send(b"\xff\xff", metadata=api.auth, timeout=30)
        assert Problem(malformed.value).code is grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(Problem) as unknown:
            api.predict(model_name="nobody", text="x")
        assert unknown.value.code is grpc.StatusCode.NOT_FOUND
        future = api.stub.Predict.future(pb.PredictRequest(model_name="tiny", text="x"), metadata=api.auth, timeout=30)
        until(lambda: ledger.holds(acme.tenant), lambda holds: holds == 1)
        future.cancel()
        until(lambda: ledger.holds(acme.tenant), lambda holds: holds == 0)
    tiny_worker.go.set()
    assert api.predict(model_name="tiny", text="y").message.model_name == "tiny"


def test_a_call_that_runs_is_answered_though_the_server_stops(
    api: Grpc, acme: Customer, grpc_server: GrpcServer, tiny_worker: TinyWorker
) -> None:
    tiny_worker.go.clear()
    future = api.stub.Predict.future(pb.PredictRequest(model_name="tiny", text="x"), metadata=api.auth, timeout=30)
    until(lambda: ledger.holds(acme.tenant), lambda holds: holds == 1)
    Heartbeat(queue="gpu", device="cpu").beat()
    grpc_server.tell_readiness()
    watcher: Any = health_pb2_grpc.HealthStub(api.channel)
    health = watcher.Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=30)
    assert next(health).status == health_pb2.HealthCheckResponse.SERVING
    stopped = grpc_server.drain(30)
    assert next(health).status == health_pb2.HealthCheckResponse.NOT_SERVING
    health.cancel()
    with Grpc(grpc_server.target, acme) as late, pytest.raises(Problem) as problem:
        late.predict(model_name="tiny", text="y", timeout=5)
    assert problem.value.code is grpc.StatusCode.UNAVAILABLE
    tiny_worker.go.set()
    assert future.result().model_name == "tiny"
    assert stopped.wait(10)
    assert ledger.units(acme.tenant) == 1


def test_a_server_that_has_stopped_is_let_go_on_its_own_loop(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its end takes a socket off the loop, which in any other thread is a race with the loop and has crashed a process."""
    let_go_in: list[str] = []
    make = grpc.aio.server

    def watched(**options: Any) -> grpc.aio.Server:
        server = make(**options)
        weakref.finalize(server, lambda: let_go_in.append(threading.current_thread().name))
        return server

    monkeypatch.setattr(grpc.aio, "server", watched)
    server = GrpcServer(host="127.0.0.1", port=0)
    server.start()
    server.drain(0)
    server.wait()
    assert let_go_in == ["event-loop"]


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:127.0.0.1:50051", "127.0.0.1"),
        ("ipv6:[::1]:50051", "::1"),
        ("ipv6:%5B2001:db8::7%5D:4711", "2001:db8::7"),
        ("unix:/tmp/socket", ""),
        ("", ""),
    ],
)
def test_the_address_of_the_other_end(peer: str, address: str) -> None:
    assert peer_address(peer) == address


# --- TLS --------------------------------------------------------------------------------------------------------------


class Certificates:
    """A small authority of our own, and PEM files of what it signed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
        self.authority = self._write("authority", self._made(self._name, self._key, is_authority=True))

    def issue(self, name: str) -> tuple[Path, Path]:
        """The paths of a certificate for 127.0.0.1 and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        secret = self._folder / f"{name}.key"
        secret.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return self._write(name, self._made(subject, key, is_authority=False)), secret

    def _made(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, is_authority: bool) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )

    def _write(self, name: str, certificate: x509.Certificate) -> Path:
        path = self._folder / f"{name}.pem"
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return path


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


@pytest.fixture
def tls(certificates: Certificates, settings: Any) -> Certificates:
    """The settings of a server with TLS."""
    cert, key = certificates.issue("server")
    settings.GRPC_TLS_CERT, settings.GRPC_TLS_KEY = str(cert), str(key)
    return certificates


def serving(target: str, *, authority: Path | None = None, client: tuple[Path, Path] | None = None) -> bool:
    """Whether the health of the server can be asked over TLS, or in plain text without an authority."""
    credentials = grpc.ssl_channel_credentials(
        root_certificates=authority.read_bytes() if authority else None,
        certificate_chain=client[0].read_bytes() if client else None,
        private_key=client[1].read_bytes() if client else None,
    )
    channel = grpc.secure_channel(target, credentials) if authority else grpc.insecure_channel(target)
    with channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
        except grpc.RpcError as error:
            if Problem(error).code is not grpc.StatusCode.UNAVAILABLE:
                raise
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def test_tls(tls: Certificates, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    target: str = request.getfixturevalue("grpc_target")
    assert serving(target, authority=tls.authority)
    assert not serving(target)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert not serving(target, authority=Certificates(elsewhere).authority)


def test_mutual_tls(tls: Certificates, request: pytest.FixtureRequest, tmp_path: Path, settings: Any) -> None:
    settings.GRPC_TLS_CLIENT_CA = str(tls.authority)
    target: str = request.getfixturevalue("grpc_target")
    assert serving(target, authority=tls.authority, client=tls.issue("client"))
    assert not serving(target, authority=tls.authority)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert not serving(target, authority=tls.authority, client=Certificates(elsewhere).issue("stranger"))


def found(settings: Any, **values: str) -> list[str | None]:
    for name, value in values.items():
        setattr(settings, name, value)
    return [message.id for message in run_checks() if message.id and message.id.startswith("mlplatform.E01")]


def test_settings_of_tls_that_cannot_be_meant(settings: Any, certificates: Certificates, tmp_path: Path) -> None:
    cert, key = certificates.issue("server")
    assert found(settings) == []
    assert found(settings, GRPC_TLS_CERT=str(cert)) == ["mlplatform.E010"]
    assert found(settings, GRPC_TLS_KEY=str(key)) == []
    assert found(settings, GRPC_TLS_CLIENT_CA=str(tmp_path / "nothing.pem")) == ["mlplatform.E011"]
    assert found(settings, GRPC_TLS_CERT="", GRPC_TLS_KEY="", GRPC_TLS_CLIENT_CA=str(cert)) == ["mlplatform.E012"]
