"""The addresses that OpenAI's clients call for embeddings, below ``/openai/v1``."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from billing.admission import Decision
from billing.rest.views import ProtocolView
from inference.calls import all_or_nothing
from inference.calls import context as call_context
from inference.openai import embeddings, models, problems
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.authentication import Caller
from tenants.http.call import Reply

API_VERSION = "openai"
_SCOPE = "models:read"


class OpenAIView(ProtocolView):
    """Answers and problems in the shape that OpenAI's clients read."""

    render_problem = staticmethod(problems.reply)


class EmbeddingsView(OpenAIView):
    """A vector for each text."""

    def post(self, request: Request) -> Response:
        call = self.call(request)

        def handle(caller: Caller, _: str) -> tuple[Any, Decision | None]:
            asked = embeddings.parse(call.json_object())
            context = call_context.context(call, all_or_nothing.operation(len(asked.texts)), API_VERSION)
            try:
                answer = embeddings.embed(caller, asked, context=context)
            except Exception:
                call.deprecations = all_or_nothing.deprecations(caller, asked.model, request_id=call.request_id)
                raise
            headers = answer.cache_headers() | answer.truncation_headers()
            reply = Reply(embeddings.render(asked, answer), headers=headers, deprecations=answer.deprecations)
            return reply, answer.decision

        return self.respond(call, handle)


class ModelsView(OpenAIView):
    """The models that can be asked for embeddings."""

    def get(self, request: Request) -> Response:
        return self.read(request, _SCOPE, lambda caller, _: models.listed(caller))


class ModelView(OpenAIView):
    """One of them."""

    def get(self, request: Request, model: str) -> Response:
        return self.read(request, _SCOPE, lambda caller, _: models.one(caller, model))


class NothingView(OpenAIView):
    """What else OpenAI offers, in the shape of its errors."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        raise PlatformError(
            ErrorKind.NOT_FOUND, f"There is nothing at {request.path_info[:200]}; here are embeddings and models."
        )
