"""The names of a tenant's admission state in Redis: all of one hash tag, so that one script may touch them all."""

from functools import lru_cache
from typing import Final

from tenants import guards

CACHED: Final = 20_000


def usage_stream(shard: int) -> str:
    """The stream of a shard's usage records."""
    return f"{{s{shard}}}:usage"


@lru_cache(maxsize=CACHED)
def of_tenant(shard: int, tenant_id: int) -> tuple[bytes, ...]:
    """KEYS of the scripts that end holds: limits and holds, their expiry, usage."""
    names = (f"{{s{shard}}}:{what}:{tenant_id}" for what in ("limits", "expiry"))
    return tuple(name.encode() for name in (*names, usage_stream(shard)))


@lru_cache(maxsize=CACHED)
def of_caller(shard: int, tenant_id: int, key_id: str) -> tuple[bytes, ...]:
    """KEYS of the admission script: those of the tenant, its refusals, their order, the key's and the tenant's guard."""
    return (
        *of_tenant(shard, tenant_id),
        refusals(shard, tenant_id).encode(),
        f"{{s{shard}}}:refused-order:{tenant_id}".encode(),
        guards.key_guard(shard, key_id).encode(),
        guards.tenant_guard(shard, tenant_id).encode(),
    )


def refusals(shard: int, tenant_id: int) -> str:
    """The hash of a tenant's refusals, by request id."""
    return f"{{s{shard}}}:refused:{tenant_id}"
