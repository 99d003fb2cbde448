"""What every call with a key goes through: caller, API version, limit and deprecation headers on every answer."""

import logging
from collections.abc import Callable
from typing import Any, Final

from django.conf import settings

from billing import charging, documents_only
from billing.admission import Decision
from billing.charging import Refused
from billing.contracts import Contract, contract_of
from billing.http import limit_headers
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants import api_versions
from tenants.api_versions import Selectors
from tenants.authentication import Caller
from tenants.deprecations import catalogue
from tenants.deprecations.rules import Deprecation, Ended
from tenants.guards import StaleCaller
from tenants.http import deprecation_headers
from tenants.http.authentication import with_caller
from tenants.http.call import Reply, RestCall, problem_reply

logger = logging.getLogger(__name__)

Handler = Callable[[Caller, str], tuple[Any, Decision | None]]
"""``handle(caller, api_version)`` gives a body or a Reply, and the limits after it if it was charged."""

RenderProblem = Callable[..., Reply]
"""``render(error, *, request_id)`` writes any exception as the protocol has it."""

UNVERSIONED: Final[tuple[str, ...]] = ()
"""For protocols with a version of their own, such as GraphQL: no API version is selected, told or judged."""


def answer(
    call: RestCall,
    handle: Handler,
    *,
    known: tuple[str, ...],
    render_problem: RenderProblem = problem_reply,
    runs_documents: bool = False,
) -> Reply:
    """Run a handler as the caller; ``known`` are the API versions that have this address. Problems are replies too.

    ``runs_documents``: the face runs trusted documents, and so takes keys that may use nothing else.
    """
    headers: dict[str, str] = {}

    def work(caller: Caller) -> Reply:
        headers.clear()
        deprecation: Deprecation | None = None
        try:
            if not runs_documents:
                documents_only.refuse(caller)
            api_version = ""
            if known:
                api_version = _api_version(call, caller, known)
                headers["API-Version"] = api_version
                deprecation = catalogue.judge_api_version(
                    api_version, tenant_id=caller.tenant_id, call_id=call.request_id
                )
            body, decision = handle(caller, api_version)
        except PlatformError as error:
            # Within the caller's try: a guard that changed must end in 401, not in a problem for a revoked key.
            headers.update(_limits_after(error, caller))
            refused = (error.deprecation,) if isinstance(error, Ended) else call.deprecations
            headers.update(deprecation_headers.of(deprecation, *refused, path=call.path))
            raise
        except StaleCaller:
            raise  # Perhaps this is no caller any more, and is told nothing.
        except Exception:
            headers.update(deprecation_headers.of(deprecation, *call.deprecations, path=call.path))
            raise
        headers.update(limit_headers.of(decision or peek(contract_of(caller))))
        reply = body if isinstance(body, Reply) else Reply(body)
        if deprecation is not None or reply.deprecations:
            headers.update(deprecation_headers.of(deprecation, *reply.deprecations, path=call.path))
        return reply

    try:
        reply = with_caller(call, work)
    except Exception as error:  # noqa: BLE001 - each exception has its problem; unexpected ones are logged there
        reply = render_problem(error, request_id=call.request_id)
        reply.brownout = isinstance(error, PlatformError) and error.kind is ErrorKind.BROWNOUT
    for name, value in headers.items():
        reply.headers.setdefault(name, value)
    return reply


def peek(contract: Contract) -> Decision:
    """Check the guards and tell the state of every limit; takes nothing."""
    return charging.peek(contract=contract, limits=contract.limits)


def _api_version(call: RestCall, caller: Caller, known: tuple[str, ...]) -> str:
    chosen = api_versions.select(
        Selectors(
            path=call.path_version,
            header=call.header("API_VERSION"),
            query=call.query_once("version"),
            pin=caller.pinned_api_version,
        ),
        default=settings.DEFAULT_API_VERSION,
        known=catalogue.current().api_versions,
    )
    if chosen not in known:
        raise PlatformError(
            ErrorKind.NOT_FOUND, f"The API version {chosen} does not have this address; {', '.join(known)} does."
        )
    return chosen


def _limits_after(error: PlatformError, caller: Caller) -> dict[str, str]:
    """Limit headers for a problem too; a state Redis that is away must not hide the problem behind its own."""
    decision = error.decision if isinstance(error, Refused) else None
    if decision is None and error.kind not in {ErrorKind.UNAVAILABLE, ErrorKind.UNAUTHENTICATED}:
        try:
            decision = peek(contract_of(caller))
        except PlatformError:
            logger.info("no limit headers: the state of the limits could not be read")
    return limit_headers.of(decision) if decision is not None else {}
