"""Whether there is room for one more package: in its owner's quota, and on the disk."""

import shutil
from typing import Final

from django.conf import settings
from prometheus_client import Counter

from billing import quotas
from inference.registry.packages import occupied, storage
from mlplatform.lib.errors import ErrorKind, PlatformError, unavailable
from tenants.models import Tenant

_MB: Final = 2**20
_COPIES: Final = 3
"""How many times its weights a model may have in memory: mapped from the file, copied, and in a lower precision."""
_refused = Counter("mlplatform_pushes_refused_total", "Packages for which there was no room, by reason.", ["reason"])


def require_quota(owner: Tenant, *, size_bytes: int) -> None:
    """Raises CONFLICT where a version of this size is one too many for its owner, takes its files beyond their bytes, or would
    need more memory alone than all models of its owner may take in a worker."""
    quota = quotas.of_models(tenant_id=owner.pk)
    kept = occupied.kept(owner)
    versions, used = kept.versions, kept.total_bytes
    if versions >= quota.versions:
        _refused.labels("versions").inc()
        raise PlatformError(
            ErrorKind.CONFLICT,
            f"This tenant has {versions} model versions, and {quota.versions} are its limit; retire some first.",
        )
    if used + size_bytes > quota.total_bytes:
        _refused.labels("bytes").inc()
        raise PlatformError(
            ErrorKind.CONFLICT,
            f"This version has {_megabytes(size_bytes)} and the tenant's others {_megabytes(used)}; together they may have "
            f"{_megabytes(quota.total_bytes)}. Retire some first, or ask for a larger plan.",
        )
    memory = process_memory_bytes(stored_bytes=size_bytes)
    if memory > quota.memory_bytes:
        _refused.labels("memory").inc()
        raise PlatformError(
            ErrorKind.CONFLICT,
            f"The process of this version may take {_megabytes(memory)} of memory, and all models of this tenant together "
            f"{_megabytes(quota.memory_bytes)} in a worker. Push a smaller model, or ask for a larger plan.",
        )


def process_memory_bytes(*, stored_bytes: int) -> int:
    """What the process of a tenant's model whose files have so many bytes may take beside the libraries."""
    return int(settings.PRIVATE_MODEL_MEMORY_MB * _MB + _COPIES * stored_bytes)


def require_disk(*, more_bytes: int) -> None:
    """Raises UNAVAILABLE where this machine's disk would have less than ``MIN_FREE_DISK_BYTES`` left with so much more."""
    folder = storage.folder_of_incoming()
    if shutil.disk_usage(folder).free - more_bytes < settings.MIN_FREE_DISK_BYTES:
        _refused.labels("disk").inc()
        raise unavailable(
            "There is no room for another package on the platform's disk; nothing was stored.", retry_after_s=600.0
        )


def _megabytes(size: int) -> str:
    return f"{size / _MB:,.1f} MB"
