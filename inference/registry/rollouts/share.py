"""Which tenants a canary takes: always the same ones, and with a larger share those and others."""

import hashlib
from typing import Final

_ALL: Final = 1 << 64


def takes(*, rollout_id: int, percent: int, tenant_id: int) -> bool:
    """Whether the tenant is among the ``percent`` (0 to 100) of this rollout.

    By a hash, so that every process agrees without asking, and of the rollout too, so that it is not always the same
    tenants who try what is new.
    """
    digest = hashlib.blake2b(f"{rollout_id}:{tenant_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") * 100 < percent * _ALL
