"""People who are signed in with a browser: they may look at the schema, and run nothing without a key."""

from collections.abc import Mapping
from typing import Any, Final

from django.contrib.auth.models import AbstractBaseUser

from mlplatform.graphql.operations import Budget, run
from mlplatform.graphql.requests import Request
from mlplatform.lib import rates
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.graphql.call import GraphQLCall
from tenants.http.call import RestCall

_GROUP: Final = "graphql.introspection"
_RATE: Final = "60/m"
_AWAY: Final = "The schema cannot be shown at this moment; please try again shortly."


def has_key(meta: Mapping[str, Any]) -> bool:
    """Whether a call has a key, good or bad: then its session, if it has one, is not looked at."""
    return bool(meta.get("HTTP_AUTHORIZATION") or meta.get("HTTP_X_API_KEY"))


def answer(user: AbstractBaseUser, call: RestCall) -> dict[str, Any]:
    """What the schema says. Raises UNAUTHENTICATED for any other operation, and TOO_MANY_ATTEMPTS."""
    _count(user.pk)
    request: Request = call.parse()
    if request.is_batch:
        raise PlatformError(ErrorKind.MALFORMED, "A browser's session may send one operation at a time.")
    (asked,) = request.operations
    looking = GraphQLCall(caller=None, session_user_id=user.pk, request_id=call.request_id)
    return run(asked, looking, Budget(), queries_only=True).body


def _count(user_id: int) -> None:
    wait_s = rates.wait_s(group=_GROUP, key=str(user_id), rate=_RATE, uncounted=_AWAY)
    if not wait_s:
        return
    raise PlatformError(
        ErrorKind.TOO_MANY_ATTEMPTS,
        "The schema was asked for too often; please wait a little.",
        retry_after_s=wait_s,
    )
