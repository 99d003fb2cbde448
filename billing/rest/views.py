"""The base of views that a key opens."""

from collections.abc import Callable
from typing import Any, ClassVar

from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from billing.admission import Decision
from billing.contracts import contract_of
from billing.rest import keyed
from billing.rest.keyed import Handler, peek
from tenants import scopes
from tenants.authentication import Caller
from tenants.rest.call import Reply, RestCall
from tenants.rest.views import ApiView


class KeyedView(ApiView):
    """Runs a handler as the caller. ``api_versions`` are those that have this address."""

    api_versions: ClassVar[tuple[str, ...]] = ("v2",)

    def answer(self, request: Request, handle: Handler) -> Response:
        """Run ``handle`` and write its reply, with limit headers."""
        return self.write(keyed.answer(self.call(request), handle, known=self.api_versions))

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
            parse=lambda: self.parsed(request),
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
        return response  # type: ignore[no-any-return]
