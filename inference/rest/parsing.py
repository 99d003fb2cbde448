"""What an HTTP call says in headers and means for its prediction. Bodies are read by the faces."""

from django.conf import settings

from billing.models import Operation
from inference.types import CachePolicy, CallContext
from tenants.rest.call import RestCall


def context(call: RestCall, operation: Operation, api_version: str) -> CallContext:
    """What is true of the call as a whole; ``api_version`` is REST's, or the name of the protocol."""
    return CallContext(
        request_id=call.request_id,
        operation=operation.value,
        api_version=api_version,
        client=call.header("USER_AGENT"),
        timeout_s=settings.PREDICT_TIMEOUT_S,
        cache=cache_policy(call.header("CACHE_CONTROL")),
    )


def cache_policy(header: str) -> CachePolicy:
    """``Cache-Control: no-cache`` computes anew; ``no-store`` neither reads nor keeps."""
    if not header:
        return CachePolicy()
    directives = {part.strip().lower() for part in header.split(",")}
    no_store = "no-store" in directives
    return CachePolicy(read=not (no_store or "no-cache" in directives), write=not no_store)
