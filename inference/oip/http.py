"""The Open Inference Protocol over HTTP, below ``/oip``: thin views over :mod:`inference.oip.inferring`."""

from typing import Any, Final

from django.conf import settings
from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from billing.admission import Decision
from billing.rest.views import ProtocolView
from inference.calls import all_or_nothing, context
from inference.oip import metadata, problems, wire
from inference.oip.inferring import API_VERSION, infer, reference
from mlplatform.lib import request_body
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.authentication import Caller
from tenants.http.call import Reply, RestCall

_CODINGS: Final = ("gzip", "deflate")
"""Of bodies: those that Triton's clients can be told to use."""


class OipView(ProtocolView):
    """Answers and problems in the protocol's own shape."""

    render_problem = staticmethod(problems.reply)


class ServerView(OipView):
    """Who answers; needs no key."""

    def get(self, request: Request) -> Response:
        return Response(
            {
                "name": metadata.SERVER,
                "version": metadata.SERVER_VERSION,
                "extensions": list(metadata.EXTENSIONS),
            }
        )


class LiveView(OipView):
    """The process answers; needs no key."""

    def get(self, request: Request) -> Response:
        return Response({"live": True})


class ReadyView(OipView):
    """Whether predictions can be answered; needs no key."""

    def get(self, request: Request) -> Response:
        ready = metadata.is_ready()
        return Response({"ready": ready}, status=200 if ready else 503, headers={"Cache-Control": "no-store"})


class ModelView(OipView):
    """The tensors and versions of a model."""

    def get(self, request: Request, model: str, version: str = "") -> Response:
        def handle(caller: Caller, _: str) -> dict[str, Any]:
            info = metadata.describe(metadata.find(caller, model, version))
            body: dict[str, Any] = {
                "name": info.name,
                "versions": list(info.versions),
                "platform": info.platform,
                "inputs": [_tensor(one) for one in info.inputs],
                "outputs": [_tensor(one) for one in info.outputs],
            }
            parameters: dict[str, Any] = {"labels": list(info.labels)} if info.labels else {}
            if info.max_tokens is not None:
                parameters["max_tokens"] = info.max_tokens
            return body | ({"parameters": parameters} if parameters else {})

        return self.read(request, metadata.SCOPE, handle)


class ModelReadyView(OipView):
    """Whether a model can be asked now. Any key that may use it may ask, for a prediction would tell the same."""

    def get(self, request: Request, model: str, version: str = "") -> Response:
        def handle(caller: Caller, _: str) -> Reply:
            ref = metadata.find(caller, model, version)
            ready = metadata.is_ready()
            return Reply({"name": ref.name, "ready": ready}, status=200 if ready else 503)

        return self.read(request, "", handle)


class InferView(OipView):
    """One row or several; the body is JSON, binary tensors may follow it."""

    def post(self, request: Request, model: str, version: str = "") -> Response:
        call = self.call(request)

        def handle(caller: Caller, _: str) -> tuple[Any, Decision | None]:
            name = reference(model, version)
            try:
                asked = wire.parse(
                    call.parse(),
                    header_length=call.header("INFERENCE_HEADER_CONTENT_LENGTH"),
                    model=model,
                    version=version,
                )
                name = asked.model
                inferred = infer(
                    caller,
                    asked,
                    request_id=call.request_id,
                    context=lambda operation: context.context(call, operation, API_VERSION),
                )
            except Exception:
                call.deprecations = all_or_nothing.deprecations(caller, name, request_id=call.request_id)
                raise
            body, json_size = wire.render(asked, inferred)
            response = HttpResponse(
                body, content_type=wire.BINARY_TYPE if json_size is not None else "application/json"
            )
            headers = inferred.answer.cache_headers()
            if json_size is not None:
                headers[wire.HEADER_LENGTH] = str(json_size)
            answer = inferred.answer
            return Reply(response, headers=headers, deprecations=answer.deprecations), answer.decision

        return self.respond(call, handle)

    def call(self, request: Request) -> RestCall:
        call = super().call(request)
        body = request_body.of(request.META)
        call.parse = lambda: body.whole(limit=settings.MAX_BODY_BYTES, codings=_CODINGS)
        return call


class NothingView(OipView):
    """Addresses that other servers of the protocol have and this one has not, in the protocol's shape."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        raise PlatformError(
            ErrorKind.NOT_FOUND,
            f"There is nothing at {request.path_info[:200]}; the server offers health, metadata and infer.",
        )


def _tensor(info: metadata.TensorInfo) -> dict[str, Any]:
    return {"name": info.name, "datatype": info.datatype, "shape": list(info.shape)}
