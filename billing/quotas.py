"""What a tenant may occupy beside what it spends: its plan's say, or the platform's where that says nothing.

How many pixels may be unpacked is asked on the way of a call, and so is part of the contract (``billing.contracts``).
"""

from dataclasses import dataclass
from typing import Final

from django.conf import settings

from billing import contracts

_MB: Final = 2**20


@dataclass(frozen=True, slots=True)
class ModelQuota:
    """Of a tenant's own models: versions that are not retired, bytes of their files together, bytes that their processes may
    take together in one worker, and pushes, as a rate such as ``30/h``."""

    versions: int
    total_bytes: int
    memory_bytes: int
    push_rate: str


def of_models(*, tenant_id: int) -> ModelQuota:
    """What the tenant may occupy now. Without a plan it is what the platform gives by default."""
    plan = contracts.plan_now(tenant_id)
    versions = plan.model_versions if plan is not None else None
    total_bytes = plan.model_bytes if plan is not None else None
    memory_mb = plan.model_memory_mb if plan is not None else None
    pushes = plan.pushes_per_hour if plan is not None else None
    return ModelQuota(
        versions=settings.MAX_PRIVATE_VERSIONS if versions is None else versions,
        total_bytes=settings.MAX_PRIVATE_BYTES if total_bytes is None else total_bytes,
        memory_bytes=_MB * (settings.MAX_PRIVATE_MEMORY_MB if memory_mb is None else memory_mb),
        push_rate=settings.PUSHES_PER_TENANT if pushes is None else f"{pushes}/h",
    )
