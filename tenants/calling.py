"""From a secret to the caller of one call, the same for every face: HTTP, GraphQL and gRPC."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

from mlplatform.lib.errors import ErrorKind, PlatformError, unavailable
from tenants import authentication, wrong_keys
from tenants.authentication import Caller, WrongKey
from tenants.guards import StaleCaller

T = TypeVar("T")

_PAUSES_S: Final = (0, 0, 0, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32)
"""Before each further try with a caller that is read anew. Two changes that follow each other make it stale twice; a script may
make dozens in a row, each of them between the look into SQL and admission: pauses that grow outlast them."""


def secret_of(*, authorization: str, api_key: str) -> str:
    """The key of ``Authorization: Bearer …`` or ``X-API-Key: …``. Raises UNAUTHENTICATED for none, MALFORMED for two."""
    bearer = ""
    if authorization:
        scheme, _, bearer = authorization.partition(" ")
        bearer = bearer.strip()
        if scheme.lower() != "bearer" or not bearer:
            raise PlatformError(ErrorKind.UNAUTHENTICATED, "Write the header as 'Authorization: Bearer <API key>'.")
    if bearer and api_key and bearer != api_key:
        raise PlatformError(ErrorKind.MALFORMED, "Authorization and X-API-Key hold different keys; send one.")
    if not bearer and not api_key:
        raise PlatformError(
            ErrorKind.UNAUTHENTICATED, "Send your API key in the header 'Authorization: Bearer <API key>'."
        )
    return bearer or api_key


def caller_of(secret: str, *, address: str) -> Caller:
    """Who calls. Only a key that proves wrong is counted by ``address``, and refused for those before it.

    Raises UNAUTHENTICATED, FORBIDDEN or, for one wrong key too many, TOO_MANY_ATTEMPTS.
    """
    try:
        return authentication.authenticate(secret, address=address)
    except WrongKey:
        wrong_keys.count(address)
        raise


def as_caller(secret: str, *, address: str, work: Callable[[Caller], T]) -> T:
    """Run ``work`` as the caller of the call; again with a freshly read caller if its key or tenant changed.

    Raises what ``work`` raises, and UNAVAILABLE where the caller keeps changing for 0.6 s.
    """
    caller = caller_of(secret, address=address)
    for pause_s in _PAUSES_S:
        try:
            return work(caller)
        except StaleCaller:
            time.sleep(pause_s)
            caller = authentication.authenticate(secret, address=address, fresh=True)
    try:
        return work(caller)
    except StaleCaller as error:
        raise unavailable("This key is being changed at this moment; please try again.") from error
