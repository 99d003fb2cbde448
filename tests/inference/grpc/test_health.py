"""What a server says of its health, to clients that ask and to those that watch."""

from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from inference.fleet.workers import Heartbeat
from mlplatform import grpc_health
from mlplatform.grpc_server import GrpcServer
from tests.support.grpc import Problem
from tests.support.redis_server import RedisServer
from tests.support.waiting import settle_down

SERVICE = "ml_inference.InferenceService"
OIP_SERVICE = "inference.GRPCInferenceService"


def health_of(target: str, service: str) -> int:
    with grpc.insecure_channel(target) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
        return int(answer.status)


def test_the_whole_serves_and_a_service_is_as_ready_as_predictions_can_be_answered(
    grpc_server: GrpcServer, state_redis: RedisServer
) -> None:
    serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING

    def told() -> list[int]:
        grpc_server.tell_readiness()
        return [health_of(grpc_server.target, service) for service in ("", SERVICE, OIP_SERVICE)]

    without_worker = told()
    heartbeat = Heartbeat(queue="gpu", device="cpu")
    heartbeat.beat()
    with_worker = told()
    state_redis.stop()
    without_redis = told()
    state_redis.start()
    heartbeat.beat()
    assert without_worker == without_redis == [serving, not_serving, not_serving]
    assert with_worker == told() == [serving, serving, serving]


def test_who_watches_hears_of_changes_only(grpc_server: GrpcServer, grpc_target: str) -> None:
    heard: list[int] = []
    with grpc.insecure_channel(grpc_target) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watched = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=30)
        heard.append(next(watched).status)
        for _ in range(3):
            grpc_server.tell_readiness()
        Heartbeat(queue="gpu", device="cpu").beat()
        grpc_server.tell_readiness()
        heard.append(next(watched).status)
        watched.cancel()
    assert heard == [health_pb2.HealthCheckResponse.NOT_SERVING, health_pb2.HealthCheckResponse.SERVING]


def test_who_watches_hears_of_changes_though_another_watcher_went(grpc_server: GrpcServer, grpc_target: str) -> None:
    with grpc.insecure_channel(grpc_target) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watching = [stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=60) for _ in range(2)]
        for watched in watching:
            assert next(watched).status == health_pb2.HealthCheckResponse.NOT_SERVING
        gone, stays = watching
        gone.cancel()
        settle_down(0.3)
        Heartbeat(queue="gpu", device="cpu").beat()
        grpc_server.tell_readiness()
        assert next(stays).status == health_pb2.HealthCheckResponse.SERVING
        stays.cancel()


def test_the_health_of_a_service_that_is_not_there(grpc_target: str) -> None:
    with pytest.raises(grpc.RpcError) as error:
        health_of(grpc_target, "nobody.Service")
    assert Problem(error.value).code is grpc.StatusCode.NOT_FOUND


def test_who_watches_does_not_keep_a_server_that_stops(grpc_server: GrpcServer, grpc_target: str) -> None:
    with grpc.insecure_channel(grpc_target) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watched = stub.Watch(health_pb2.HealthCheckRequest(service=""), timeout=60)
        assert next(watched).status == health_pb2.HealthCheckResponse.SERVING
        stopped = grpc_server.drain(60)
        assert [answer.status for answer in watched] == [health_pb2.HealthCheckResponse.NOT_SERVING]
        assert stopped.wait(20)


def test_few_enough_clients_watch(grpc_target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_health, "MOST_WATCHERS", 1)
    with grpc.insecure_channel(grpc_target) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watched = stub.Watch(health_pb2.HealthCheckRequest(service=""), timeout=60)
        assert next(watched).status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as error:
            next(stub.Watch(health_pb2.HealthCheckRequest(service=""), timeout=60))
        assert Problem(error.value).code is grpc.StatusCode.RESOURCE_EXHAUSTED
        watched.cancel()
