"""What every call with a key goes through, of all gRPC services: caller, deadline, cancellation, limits, problems.

A servicer's method is one line: ``return answer_unary(context, lambda caller, info: …)``.
"""

import logging
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, NoReturn, TypeVar
from urllib.parse import unquote

from django.conf import settings

from billing import charging, documents_only
from billing.admission import Decision
from billing.charging import Refused
from billing.contracts import contract_of
from billing.http import limit_headers
from billing.models import Operation
from inference.calls import context as call_context
from inference.engine.predict import Answer
from inference.grpc import statuses
from inference.grpc.exchange import Exchange
from inference.types import CachePolicy, CallContext
from mlplatform.lib import ids, tracing
from mlplatform.lib.cancellation import Cancellation
from mlplatform.lib.client_address import client_address
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants import calling
from tenants.authentication import Caller
from tenants.deprecations.rules import Deprecation, Ended
from tenants.http import deprecation_headers, problems

logger = logging.getLogger(__name__)

T = TypeVar("T")

_PEER: Final = re.compile(r"ipv[46]:(?P<address>.+):\d+")
_LEAST_S: Final = 0.001
_LISTS: Final = frozenset({"cache-control", "x-forwarded-for"})


@dataclass(slots=True)
class CallInfo:
    """One gRPC call as handlers see it. They fill in what its answer says beside the message: see :meth:`note`.

    ``timeout_s`` is the client's deadline, at most ``PREDICT_TIMEOUT_S``; ``client`` the user agent; ``address`` the
    client's. ``headers`` are further ones for the initial metadata, lower-case.
    """

    request_id: str
    client: str
    timeout_s: float
    cancellation: Cancellation
    cache: CachePolicy
    address: str
    metadata: Mapping[str, str] = field(repr=False)  # It holds the key.
    decision: Decision | None = None
    deprecations: tuple[Deprecation, ...] = ()
    headers: dict[str, str] = field(default_factory=dict)
    begun: bool = False
    """Whether the initial metadata went out, as it does before the first answer of a stream."""

    def context(self, operation: Operation, api_version: str = "grpc", *, holds_thread: bool = True) -> CallContext:
        """What ``inference.engine.predict`` wants to know of the call as a whole."""
        return CallContext(
            request_id=self.request_id,
            operation=operation.value,
            api_version=api_version,
            client=self.client,
            timeout_s=self.timeout_s,
            cache=self.cache,
            cancellation=self.cancellation,
            holds_thread=holds_thread,
        )

    def note(self, answer: Answer) -> None:
        """The limits after the call, and what ends of the versions that it pinned; for one result its cache state."""
        self.decision = answer.decision
        results = [result for result in answer.results if not isinstance(result, PlatformError)]
        self.deprecations = tuple(dict.fromkeys(one.deprecation for one in results if one.deprecation is not None))
        if len(answer.results) == len(results) == 1:
            result = results[0]
            self.headers["x-cache"] = "HIT" if result.cached else "MISS"
            if result.cached:
                self.headers["age"] = str(result.age_s)


Handler = Callable[[Caller, CallInfo], T]
"""``handle(caller, info)`` gives the message, or raises a problem. It may be called twice, with a fresh caller."""


def answer_unary(context: Exchange, handle: Handler[T]) -> T:
    """Run a handler as the caller of a unary call; a problem becomes its status."""
    info = info_of(context)
    headers: dict[str, str] = {}

    def work(caller: Caller) -> T:
        headers.clear()
        info.decision, info.deprecations = None, ()
        info.headers.clear()
        try:
            message = handle(caller, info)
        except PlatformError as error:
            # Within the caller's try: a guard that changed must end in UNAUTHENTICATED, not in a problem for a revoked key.
            headers.update(after_problem(error, caller, info))
            raise
        headers.update(answer_headers(caller, info))
        return message

    try:
        message = as_caller(info, work)
    except Exception as error:  # noqa: BLE001 - each exception has its status; unexpected ones are logged there
        fail(context, error, info, headers)
    context.send_initial_metadata(tuple(headers.items()))
    return message


def as_caller(info: CallInfo, work: Callable[[Caller], T]) -> T:
    """Run ``work`` as the one whose key the metadata holds. Raises the problems of keys."""

    def with_a_key_for_it(caller: Caller) -> T:
        documents_only.refuse(caller)
        return work(caller)

    return calling.as_caller(secret_of(info), address=info.address, work=with_a_key_for_it)


def secret_of(info: CallInfo) -> str:
    """The key of the call. Raises UNAUTHENTICATED for none, MALFORMED for two."""
    metadata = info.metadata
    return calling.secret_of(
        authorization=metadata.get("authorization", ""), api_key=metadata.get("x-api-key", "").strip()
    )


def info_of(context: Exchange) -> CallInfo:
    """Read the metadata, the deadline and the address of a call, name it on log lines, and listen for its cancellation."""
    metadata = _metadata(context.invocation_metadata())
    request_id = ids.request_id(metadata.get("x-request-id"))
    tracing.enter_request(request_id)
    cancellation = Cancellation()
    if not context.add_callback(cancellation.cancel):
        cancellation.cancel()
    return CallInfo(
        request_id=request_id,
        client=metadata.get("user-agent", ""),
        timeout_s=timeout_of(context),
        cancellation=cancellation,
        cache=call_context.cache_policy(metadata.get("cache-control", "")),
        address=client_address(
            {"REMOTE_ADDR": peer_address(context.peer()), "HTTP_X_FORWARDED_FOR": metadata.get("x-forwarded-for", "")},
            trusted_proxies=settings.TRUSTED_PROXIES,
        ),
        metadata=metadata,
    )


def timeout_of(context: Exchange) -> float:
    """Seconds until the deadline; at least a millisecond, so that what is late ends as such."""
    remaining = context.time_remaining()
    most: float = settings.PREDICT_TIMEOUT_S
    return most if remaining is None else min(most, max(remaining, _LEAST_S))


def answer_headers(caller: Caller, info: CallInfo) -> dict[str, str]:
    """What REST says in headers, lower-case, for the initial metadata of an answer."""
    decision = info.decision or _peek(caller)
    return _headers(info, limit_headers.of(decision), _deprecated(info.deprecations))


def end_headers(info: CallInfo) -> dict[str, str]:
    """The same after the last answer of a stream. The limits are those after its last admission; a stream without one has
    told them at its beginning, and is not failed at its end because they cannot be read again."""
    return _headers(info, _limits_of(info.decision), _deprecated(info.deprecations))


def after_problem(error: PlatformError, caller: Caller, info: CallInfo) -> dict[str, str]:
    """The same beside a problem; a state Redis that is away must not hide the problem behind its own."""
    is_told = isinstance(error, Refused) or info.decision is not None
    if not is_told and error.kind not in {ErrorKind.UNAVAILABLE, ErrorKind.UNAUTHENTICATED}:
        try:
            info.decision = _peek(caller)
        except PlatformError:
            logger.info("no limits in the metadata: their state could not be read")
    return headers_of_problem(error, info)


def headers_of_problem(error: PlatformError, info: CallInfo) -> dict[str, str]:
    """The same with the limits that are known."""
    decision = error.decision if isinstance(error, Refused) else info.decision
    deprecations = (error.deprecation,) if isinstance(error, Ended) else info.deprecations
    limits = limit_headers.of(decision) if decision is not None else {}
    return _headers(info, limits, _deprecated(deprecations))


def fail(context: Exchange, error: Exception, info: CallInfo, headers: Mapping[str, str] | None = None) -> NoReturn:
    """End the call with the error's status. ``headers`` go with it, in the initial and in the trailing metadata."""
    problem = problems.kind_of(error)
    sent = dict(headers or _headers(info))
    retry_after_s = statuses.retry_after(problem)
    if retry_after_s:
        sent["retry-after"] = str(max(1, math.ceil(retry_after_s)))
    if not info.begun:
        context.send_initial_metadata(tuple(sent.items()))
    status = statuses.status_of(problem, request_id=info.request_id)
    # Clients of most languages show the trailing metadata of a failed call, and not the initial one.
    context.set_trailing_metadata((*sent.items(), (statuses.DETAILS_KEY, status.SerializeToString())))
    context.abort(statuses.TABLE[problem.kind], status.message)


def _headers(info: CallInfo, *more: Mapping[str, str]) -> dict[str, str]:
    headers = {
        "x-request-id": info.request_id,
        "traceparent": tracing.child_traceparent(info.metadata.get("traceparent")),
    }
    for found in more:
        headers.update((name.lower(), value) for name, value in found.items())
    headers.update(info.headers)
    return headers


_limits: tuple[Decision | None, Mapping[str, str]] = (None, {})
"""The last decision that was told. Calls of one wave have one."""


def _limits_of(decision: Decision | None) -> Mapping[str, str]:
    global _limits
    last, told = _limits
    if decision is not last:
        told = limit_headers.of(decision) if decision is not None else {}
        _limits = decision, told
    return told


def _deprecated(deprecations: tuple[Deprecation, ...]) -> Mapping[str, str]:
    return deprecation_headers.of(*deprecations, path="") if deprecations else {}


def _peek(caller: Caller) -> Decision:
    contract = contract_of(caller)
    return charging.peek(contract=contract, limits=contract.limits)


def _metadata(pairs: Iterable[Any]) -> dict[str, str]:
    """The first value of each key, as HTTP's servers do for what must come once; binary ones are not read.

    Lists are joined in order: a proxy may add its entry as another value behind that of the client.
    """
    found: dict[str, str] = {}
    for key, value in pairs:
        if not isinstance(value, str):
            continue
        if key in _LISTS and key in found:
            found[key] = f"{found[key]}, {value}"
        else:
            found.setdefault(key, value)
    return found


@lru_cache(maxsize=4096)
def peer_address(peer: str) -> str:
    """``ipv4:127.0.0.1:5000`` and ``ipv6:[::1]:5000``, percent-encoded or not, as a bare address; others as unknown."""
    match = _PEER.fullmatch(unquote(peer))
    return match["address"].strip("[]") if match else ""
