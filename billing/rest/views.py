"""The base of views that a key opens."""

from collections.abc import Callable
from typing import Any, ClassVar

from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from billing.admission import Decision
from billing.contracts import contract_of
from billing.http import keyed
from billing.http.keyed import Handler, RenderProblem, peek
from tenants import scopes
from tenants.authentication import Caller
from tenants.http import parsers
from tenants.http.call import Reply, RestCall, problem_reply
from tenants.rest.views import ApiView


class KeyedView(ApiView):
    """Runs a handler as the caller. ``api_versions`` are those that have this address."""

    api_versions: ClassVar[tuple[str, ...]] = ("v2",)

    render_problem: ClassVar[RenderProblem] = staticmethod(problem_reply)

    def answer(self, request: Request, handle: Handler) -> Response:
        """Run ``handle`` and write its reply, with limit headers."""
        return self.respond(self.call(request), handle)

    def respond(self, call: RestCall, handle: Handler) -> Response:
        """The same for a call that was made already."""
        reply = keyed.answer(call, handle, known=self.api_versions, render_problem=self.render_problem)
        return self.write(reply)

    def read(self, request: Request, scope: str, handle: Callable[[Caller, str], Any]) -> Response:
        """An answer that costs nothing: the guard is checked first, so that a revoked key sees nothing."""

        def work(caller: Caller, api_version: str) -> tuple[Any, Decision | None]:
            if scope:
                scopes.require(caller.scopes, scope)
            decision = peek(contract_of(caller))
            return handle(caller, api_version), decision

        return self.answer(request, work)

    def call(self, request: Request) -> RestCall:
        """The request as handlers see it."""
        return RestCall(
            META=request.META,
            request_id=request._request.request_id,  # type: ignore[attr-defined]
            path_version=self.kwargs.get("path_version", ""),
            parse=lambda: parsers.json_of(request.META),
        )

    @staticmethod
    def write(reply: Reply) -> Response:
        """The reply as REST framework writes it."""
        response: Any = (
            reply.body
            if isinstance(reply.body, HttpResponseBase)
            else Response(reply.body, status=reply.status, content_type=reply.content_type)
        )
        for name, value in reply.headers.items():
            response.headers[name] = value
        reply.mark(response)
        return response  # type: ignore[no-any-return]


class ProtocolView(KeyedView):
    """An address of a protocol without API versions, whose problems have a shape of their own: ``render_problem``."""

    api_versions: ClassVar[tuple[str, ...]] = keyed.UNVERSIONED

    def handle_exception(self, exc: Exception) -> Response:
        request_id = self.request._request.request_id  # type: ignore[attr-defined]
        return self.write(self.render_problem(exc, request_id=request_id))
