"""The names of a tenant's admission state in Redis: all of one hash tag, so that one script may touch them all."""

import re
from functools import lru_cache
from typing import Final

from tenants import guards

CACHED: Final = 20_000


def usage_stream(shard: int) -> str:
    """The stream of a shard's usage records."""
    return f"{{s{shard}}}:usage"


@lru_cache(maxsize=CACHED)
def of_tenant(shard: int, tenant_id: int) -> tuple[bytes, ...]:
    """KEYS of the scripts that end holds: limits and holds, the holds' expiry, usage, the marks' order."""
    limits, expiry, marks = (f"{{s{shard}}}:{what}:{tenant_id}" for what in ("limits", "expiry", "marks"))
    return tuple(name.encode() for name in (limits, expiry, usage_stream(shard), marks))


INDEXES: Final = "{s*}:*:*"
"""Matches, among others, every key that orders holds or marks."""


def tenant_of_index(name: bytes) -> tuple[int, int] | None:
    """Shard and tenant id of a key that orders holds or marks; None for any other key."""
    found = _INDEX.fullmatch(name)
    return (int(found[1]), int(found[2])) if found else None


_INDEX: Final = re.compile(rb"\{s(\d{1,4})\}:(?:expiry|marks):(\d{1,18})")


@lru_cache(maxsize=CACHED)
def of_caller(shard: int, tenant_id: int, key_id: str) -> tuple[bytes, ...]:
    """KEYS of the admission script: those of the tenant, its refusals, their order, the key's and the tenant's guard."""
    return (
        *of_tenant(shard, tenant_id),
        refusals(shard, tenant_id).encode(),
        refusals_in_order(shard, tenant_id).encode(),
        guards.key_guard(shard, key_id).encode(),
        guards.tenant_guard(shard, tenant_id).encode(),
    )


def refusals(shard: int, tenant_id: int) -> str:
    """The hash of a tenant's refusals, by request id."""
    return f"{{s{shard}}}:refused:{tenant_id}"


def refusals_in_order(shard: int, tenant_id: int) -> str:
    """The request ids of a tenant's refusals, by their moments in microseconds."""
    return f"{{s{shard}}}:refused-order:{tenant_id}"
