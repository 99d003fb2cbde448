"""Every gRPC service of the product with its servicer, and handlers that take bytes which are no message."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import grpc
from google.protobuf.message import DecodeError

from inference.grpc.calls import answer_unary
from inference.grpc.generated import (
    ml_inference_pb2,
    ml_inference_pb2_grpc,
    open_inference_pb2,
    open_inference_pb2_grpc,
)
from inference.grpc.messages import Malformed
from inference.grpc.servicer import InferenceServicer
from inference.oip.servicer import OpenInferenceServicer

_MALFORMED: Final = Malformed()


@dataclass(frozen=True, slots=True)
class Service:
    """A service by its full name, and the generated function that adds its servicer to a server."""

    name: str
    add_to_server: Callable[[Any], None]


def all_services(prepare_thread: Callable[[], None] | None = None) -> list[Service]:
    """What the gRPC port serves, beside health and reflection. ``prepare_thread`` runs first in each thread of a servicer."""
    inference = InferenceServicer(prepare_thread)
    open_inference = OpenInferenceServicer()
    return [
        Service(
            ml_inference_pb2.DESCRIPTOR.services_by_name["InferenceService"].full_name,
            lambda server: ml_inference_pb2_grpc.add_InferenceServiceServicer_to_server(inference, server),
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
    """The service's handlers by method. Bytes that are no message are answered with INVALID_ARGUMENT.

    grpcio's own answer would be INTERNAL, which says that the mistake is ours.
    """
    recorder = _Recorder()
    service.add_to_server(recorder)
    return {method: _tolerant(handler) for method, handler in recorder.handlers.items()}


def _tolerant(handler: grpc.RpcMethodHandler[Any, Any]) -> grpc.RpcMethodHandler[Any, Any]:
    parse: Any = handler.request_deserializer

    def deserialize(data: bytes) -> Any:
        try:
            return parse(data)
        except DecodeError:
            return _MALFORMED

    if handler.request_streaming:
        # The servicer of a stream answers the item, and goes on.
        stream: Any = handler.stream_stream
        return grpc.stream_stream_rpc_method_handler(stream, deserialize, handler.response_serializer)
    answer: Any = handler.unary_unary

    def behave(request: Any, context: grpc.ServicerContext) -> Any:
        if isinstance(request, Malformed):
            return answer_unary(context, _refuse_malformed)
        return answer(request, context)

    return grpc.unary_unary_rpc_method_handler(behave, deserialize, handler.response_serializer)


def _refuse_malformed(caller: object, info: object) -> NoReturn:
    raise _MALFORMED.problem()
