"""Every gRPC service of the product with its servicer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc

from inference.grpc import door
from inference.grpc.generated import (
    ml_inference_pb2,
    ml_inference_pb2_grpc,
    open_inference_pb2,
    open_inference_pb2_grpc,
)
from inference.grpc.servicer import InferenceServicer
from inference.oip.servicer import OpenInferenceServicer
from mlplatform.grpc_methods import OnLoop


@dataclass(frozen=True, slots=True)
class Service:
    """A service by its full name, the generated function that adds its servicer to a server, and which of its methods may be
    answered on the event loop."""

    name: str
    add_to_server: Callable[[Any], None]
    on_loop: Mapping[str, OnLoop] = field(default_factory=dict)


def all_services(prepare_thread: Callable[[], None] | None = None) -> list[Service]:
    """What the gRPC port serves, beside health and reflection. ``prepare_thread`` runs first in each thread of a servicer."""
    inference = InferenceServicer(prepare_thread)
    open_inference = OpenInferenceServicer()
    return [
        Service(
            ml_inference_pb2.DESCRIPTOR.services_by_name["InferenceService"].full_name,
            lambda server: ml_inference_pb2_grpc.add_InferenceServiceServicer_to_server(inference, server),
            {"Predict": door.predict},
        ),
        Service(
            open_inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name,
            lambda server: open_inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(open_inference, server),
        ),
    ]


class _Recorder:
    """Stands where a server would, to learn which handlers the generated code adds."""

    def __init__(self) -> None:
        self.handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    def add_generic_rpc_handlers(self, handlers: Iterable[Any]) -> None: ...

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        self.handlers.update(handlers)


def handlers_of(service: Service) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    """The service's handlers by method."""
    return handlers_added(service.add_to_server)


def handlers_added(add_to_server: Callable[[Any], None]) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    """The handlers by method that generated code adds to a server."""
    recorder = _Recorder()
    add_to_server(recorder)
    return recorder.handlers
