"""Keys with *trusted documents only*: they run their tenant's documents at ``/graphql`` and nothing on any other face.

A face that runs trusted documents says so; every other one refuses, so that a new face is closed to such keys.
"""

from typing import Final

from billing import charging
from billing.contracts import contract_of
from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.authentication import Caller

_REFUSAL: Final = (
    "This key may use trusted documents only: send the documentId of one that your tenant has registered to /graphql, or "
    "use another key here."
)


def refuse(caller: Caller) -> None:
    """Raises FORBIDDEN for a key with trusted documents only; StaleCaller first, where it may have changed meanwhile."""
    if caller.trusted_documents_only:
        # The limits are not asked for: the guard is, so that a revoked or changed key gets the answer that it should.
        contract = contract_of(caller)
        charging.peek(contract=contract, limits=contract.limits)
        raise PlatformError(ErrorKind.FORBIDDEN, _REFUSAL)
