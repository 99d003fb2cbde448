"""What a tenant may occupy beside what it spends: its plan's say, or the platform's where that says nothing."""

from dataclasses import dataclass

from django.conf import settings

from billing import contracts


@dataclass(frozen=True, slots=True)
class ModelQuota:
    """Of a tenant's own models: versions that are not retired, and bytes of their files together."""

    versions: int
    total_bytes: int


def of_models(*, tenant_id: int) -> ModelQuota:
    """What the tenant may keep now. Without a plan it is what the platform gives by default."""
    plan = contracts.plan_now(tenant_id)
    versions = plan.model_versions if plan is not None else None
    total_bytes = plan.model_bytes if plan is not None else None
    return ModelQuota(
        versions=settings.MAX_PRIVATE_VERSIONS if versions is None else versions,
        total_bytes=settings.MAX_PRIVATE_BYTES if total_bytes is None else total_bytes,
    )
