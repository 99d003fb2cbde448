"""``/graphql``: operations for programs with a key, the schema and a page to try it for people who are signed in."""

from dataclasses import replace
from functools import partial
from typing import Any, Final

import orjson
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers

from billing.admission import Decision
from billing.http import keyed
from mlplatform.graphql import graphiql, negotiation, refusals, requests, sessions
from mlplatform.graphql.negotiation import GRAPHQL_JSON, JSON
from mlplatform.graphql.operations import Budget, OperationOutcome, run
from mlplatform.graphql.refusals import NOT_ACCEPTABLE, Refusal
from mlplatform.graphql.requests import Asked, Request
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.authentication import Caller
from tenants.deprecations.rules import Deprecation
from tenants.graphql.call import GraphQLCall
from tenants.guards import StaleCaller
from tenants.http import problems
from tenants.http.call import Reply, RestCall

ALLOW: Final = "GET, POST, OPTIONS"


def graphql(request: HttpRequest) -> HttpResponse:
    """The one address of GraphQL."""
    if request.method == "OPTIONS":
        return HttpResponse(status=204, headers={"Allow": ALLOW})
    accept = request.META.get("HTTP_ACCEPT", "")
    if request.method in {"GET", "HEAD"} and not request.META.get("QUERY_STRING") and negotiation.wants_page(accept):
        return graphiql.page(request)
    media_type = negotiation.accepted(accept)
    response = _write(_answer(request, media_type or JSON, acceptable=media_type is not None))
    patch_vary_headers(response, ["Accept"])
    return response


def _answer(request: HttpRequest, media_type: str, *, acceptable: bool) -> Reply:
    render = partial(_problem, media_type=media_type)
    call = RestCall(
        META=request.META,
        request_id=getattr(request, "request_id", "-"),
        path_version="",
        parse=lambda: _read(request),
    )
    if not acceptable:
        detail = f"Accept {GRAPHQL_JSON} or {JSON}; answers have no other media type."
        return render(Refusal(NOT_ACCEPTABLE, detail, status=406), request_id=call.request_id)
    user = getattr(request, "user", None)
    if sessions.has_key(request.META) or user is None or not user.is_authenticated:
        reply = keyed.answer(
            call,
            _Handler(call, media_type, queries_only=request.method == "GET"),
            known=keyed.UNVERSIONED,
            render_problem=render,
            runs_documents=True,
        )
    else:
        try:
            reply = Reply(sessions.answer(user, call), content_type=media_type)
        except Exception as error:  # noqa: BLE001 - each exception has its problem; unexpected ones are logged there
            reply = render(error, request_id=call.request_id)
    if reply.status == 405:
        reply.headers["Allow"] = "POST" if request.method == "GET" else ALLOW
    return reply


def _read(request: HttpRequest) -> Request:
    if request.method == "POST":
        return requests.of_body(request)
    if request.method == "GET":
        return requests.of_address(request.META.get("QUERY_STRING", ""))
    raise PlatformError(ErrorKind.METHOD_NOT_ALLOWED, "Send operations by POST, or queries by GET.")


class _Handler:
    """Answers a request as its caller. It is asked again where the caller was stale, and does nothing twice then."""

    def __init__(self, call: RestCall, media_type: str, *, queries_only: bool) -> None:
        self._call = call
        self._media_type = media_type
        self._queries_only = queries_only
        self._request: Request | None = None
        self._budget = Budget()
        self._done: list[dict[str, Any]] = []
        self._decision: Decision | None = None
        self._deprecations: list[Deprecation] = []

    def __call__(self, caller: Caller, _api_version: str) -> tuple[Reply, Decision | None]:
        if self._request is None:
            self._request = self._call.parse()
        if self._request.is_batch:
            return self._batch(caller, self._request), self._decision
        (asked,) = self._request.operations
        self._budget = Budget()
        outcome = self._run(caller, asked, 0)
        return self._reply(outcome.body), outcome.decision

    def _batch(self, caller: Caller, request: Request) -> Reply:
        """Each operation with its own result, one after the other; what is wrong with one is no other's problem."""
        for index in range(len(self._done), len(request.operations)):
            try:
                body = self._run(caller, request.operations[index], index).body
            except StaleCaller:
                raise
            except Exception as error:  # noqa: BLE001 - as above
                known = problems.kind_of(error)
                self._decision = getattr(error, "decision", None) or self._decision
                body = {"errors": refusals.entries(known, request_id=self._request_id(index))}
            self._done.append(body)
        return self._reply(self._done)

    def _run(self, caller: Caller, asked: Asked, index: int) -> OperationOutcome:
        call = GraphQLCall(
            caller=caller,
            request_id=self._request_id(index),
            client=self._call.header("USER_AGENT"),
            cache_control=self._call.header("CACHE_CONTROL"),
            timeout_s=settings.PREDICT_TIMEOUT_S,
        )
        # What a stale caller's try took from the budget is not taken.
        budget = replace(self._budget)
        try:
            outcome = run(asked, call, budget, queries_only=self._queries_only)
        except StaleCaller:
            raise
        except Exception:
            self._budget = budget
            raise
        finally:
            self._note(call.deprecations)
        self._budget = budget
        self._decision = outcome.decision or self._decision
        return outcome

    def _note(self, deprecations: list[Deprecation]) -> None:
        self._deprecations += [one for one in deprecations if one not in self._deprecations]
        self._call.deprecations = tuple(self._deprecations)

    def _request_id(self, index: int) -> str:
        """Each operation of a list has its own, by which its refusal can be explained."""
        request_id = self._call.request_id
        return request_id if index == 0 else f"{request_id[:100]}-{index + 1}"

    def _reply(self, body: Any) -> Reply:
        headers = refusals.retry_after(body)
        return Reply(body, headers=headers, content_type=self._media_type, deprecations=tuple(self._deprecations))


def _problem(error: Exception, *, request_id: str, media_type: str) -> Reply:
    known = problems.kind_of(error)
    return Reply(
        {"errors": refusals.entries(known, request_id=request_id)},
        status=refusals.status_of(known, graphql_json=media_type == GRAPHQL_JSON),
        headers=problems.headers(known),
        content_type=media_type,
    )


def _write(reply: Reply) -> HttpResponse:
    response = HttpResponse(
        orjson.dumps(reply.body, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS),
        status=reply.status,
        content_type=f"{reply.content_type}; charset=utf-8",
        headers=reply.headers,
    )
    reply.mark(response)
    return response
