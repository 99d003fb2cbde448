"""What a tenant occupies now, against which its quotas are held."""

from dataclasses import dataclass

from django.db.models import Count, Sum

from billing.quotas import ModelQuota
from inference.fleet import workers
from inference.inputs import pixel_use
from inference.models import ModelVersion, VersionState
from inference.registry.names import SEPARATOR
from inference.registry.packages import turns
from mlplatform.lib import redis
from mlplatform.lib.errors import PlatformError
from tenants.models import Tenant


@dataclass(frozen=True, slots=True)
class Kept:
    """Versions that are not retired, and bytes of their files."""

    versions: int
    total_bytes: int


def kept(owner: Tenant) -> Kept:
    """As SQL knows it."""
    rows = ModelVersion.objects.filter(model__owner=owner).exclude(state=VersionState.RETIRED)
    sums = rows.aggregate(count=Count("pk"), total=Sum("size_bytes", default=0))
    return Kept(sums["count"], sums["total"])


def memory_bytes(owner: Tenant) -> int | None:
    """What the processes of its models may take in the worker where that is most; None while Redis does not say."""
    try:
        living = workers.alive()
    except redis.FAILURES:
        return None
    own = f"{owner.slug}{SEPARATOR}"
    return max(
        (sum(model.reserved_bytes for model in info.loaded if model.reference.startswith(own)) for info in living),
        default=0,
    )


def pushes(owner: Tenant, quota: ModelQuota) -> int | None:
    """Packages that it pushed in the running window; None while Redis does not say."""
    try:
        return turns.pushed(owner.pk, rate=quota.push_rate)
    except PlatformError:
        return None


def pixels_per_s(owner: Tenant) -> float | None:
    """Pixels that were unpacked for it a second, on average of the last full minute; None while Redis does not say."""
    try:
        return pixel_use.of_last_minute(owner.pk) / 60
    except redis.FAILURES:
        return None
