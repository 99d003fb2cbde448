"""``inference.GRPCInferenceService``: the Open Inference Protocol on the gRPC port."""

from inference.calls import all_or_nothing
from inference.engine.predict import Answer
from inference.grpc.calls import CallInfo, answer_unary, info_of
from inference.grpc.exchange import Exchange
from inference.grpc.generated import open_inference_pb2 as pb
from inference.grpc.generated import open_inference_pb2_grpc
from inference.oip import messages, metadata
from inference.oip.inferring import API_VERSION, infer, reference
from inference.oip.tensors import words_of
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants import scopes
from tenants.authentication import Caller


class OpenInferenceServicer(open_inference_pb2_grpc.GRPCInferenceServiceServicer):
    """The methods of the protocol. Those of the server need no key; those of models do."""

    def ServerLive(self, request: pb.ServerLiveRequest, context: Exchange) -> pb.ServerLiveResponse:  # noqa: N802
        """The process answers."""
        _name_call(context)
        return pb.ServerLiveResponse(live=True)

    def ServerReady(self, request: pb.ServerReadyRequest, context: Exchange) -> pb.ServerReadyResponse:  # noqa: N802
        """Whether predictions can be answered."""
        _name_call(context)
        return pb.ServerReadyResponse(ready=metadata.is_ready())

    def ServerMetadata(  # noqa: N802
        self, request: pb.ServerMetadataRequest, context: Exchange
    ) -> pb.ServerMetadataResponse:
        """Who answers."""
        _name_call(context)
        return pb.ServerMetadataResponse(
            name=metadata.SERVER, version=metadata.SERVER_VERSION, extensions=metadata.EXTENSIONS
        )

    def ModelReady(self, request: pb.ModelReadyRequest, context: Exchange) -> pb.ModelReadyResponse:  # noqa: N802
        """Whether a model can be asked now; one that does not exist, or not for this key, is not ready."""

        def handle(caller: Caller, info: CallInfo) -> pb.ModelReadyResponse:
            try:
                metadata.find(caller, request.name, request.version)
            except PlatformError as error:
                if error.kind is not ErrorKind.NOT_FOUND:
                    raise
                return pb.ModelReadyResponse(ready=False)
            return pb.ModelReadyResponse(ready=metadata.is_ready())

        return answer_unary(context, handle)

    def ModelMetadata(  # noqa: N802
        self, request: pb.ModelMetadataRequest, context: Exchange
    ) -> pb.ModelMetadataResponse:
        """The tensors and versions of a model."""

        def handle(caller: Caller, info: CallInfo) -> pb.ModelMetadataResponse:
            scopes.require(caller.scopes, metadata.SCOPE)
            return messages.metadata(metadata.describe(metadata.find(caller, request.name, request.version)))

        return answer_unary(context, handle)

    def ModelInfer(self, request: pb.ModelInferRequest, context: Exchange) -> pb.ModelInferResponse:  # noqa: N802
        """One row or several."""
        return answer_unary(context, lambda caller, info: _infer(request, caller, info))


def _infer(request: pb.ModelInferRequest, caller: Caller, info: CallInfo) -> pb.ModelInferResponse:
    name = reference(request.model_name, request.model_version)
    try:
        asked = messages.parse(request)
        inferred = infer(
            caller,
            asked,
            request_id=info.request_id,
            context=lambda operation: info.context(operation, API_VERSION),
        )
    except PlatformError as error:
        info.deprecations = all_or_nothing.deprecations(caller, name, request_id=info.request_id)
        # Clients of this protocol show the message of a status and not its details, so the place stands in the message.
        error.detail = words_of(error)
        raise
    info.note(Answer(inferred.answer.results, inferred.answer.units, inferred.answer.decision))
    return messages.response(asked, inferred)


def _name_call(context: Exchange) -> None:
    context.send_initial_metadata((("x-request-id", info_of(context).request_id),))
