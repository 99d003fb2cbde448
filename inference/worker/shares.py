"""What a tenant's models may take of a worker together, so that one tenant's cannot have everybody else's dropped.

Each counts with all that its process may take, not with what it takes now: a batch may make it grow at any moment.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from billing import quotas
from inference.isolation import loading
from inference.models import ModelVersion
from inference.runtimes.protocol import LoadError, RuntimeSpec

_MB: Final = 2**20


class NoRoom(LoadError):
    """A version is not loaded, because what is needed more fills the memory. Nothing is wrong with it."""


class OverQuota(NoRoom):
    """A version is not loaded, because its owner's models may not take so much memory. The words are for the owner."""


@dataclass(frozen=True, slots=True)
class Share:
    """What the process of a tenant's model may take, and all processes of the tenant together in this worker."""

    owner_id: int
    reserved_bytes: int
    most_bytes: int


def share_of(version: ModelVersion, spec: RuntimeSpec) -> Share | None:
    """None of a model on sale, which no tenant owns. The plan is read anew at each load."""
    owner_id = version.model.owner_id
    if owner_id is None:
        return None
    return Share(
        owner_id,
        reserved_bytes=loading.limits_of(spec.artefact).memory_bytes,
        most_bytes=quotas.of_models(tenant_id=owner_id).memory_bytes,
    )


def require_fits_alone(share: Share, *, what: str) -> None:
    """Raises OverQuota where even the only model of the tenant would take too much."""
    if share.reserved_bytes > share.most_bytes:
        raise OverQuota(
            f"{what} may take {share.reserved_bytes / _MB:,.0f} MB of memory, and all models of this tenant together "
            f"{share.most_bytes / _MB:,.0f} MB in a worker. Use a smaller model, or ask for a larger plan."
        )


def too_many(share: Share, *, what: str) -> OverQuota:
    """The refusal of one that does not fit beside the tenant's others, of which none can be dropped now."""
    return OverQuota(
        f"{what} does not fit beside this tenant's other models, which may take {share.most_bytes / _MB:,.0f} MB of memory "
        "together in a worker. Call it again when they are done, or ask for a larger plan."
    )


def taken(owner_id: int, shares: Iterable[Share | None]) -> int:
    """Bytes of this owner among the shares."""
    return sum(share.reserved_bytes for share in shares if share is not None and share.owner_id == owner_id)
