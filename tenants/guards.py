"""Guards: the versions of keys and tenants in the state Redis, by which every process notices a change at once.

A change commits the grown version in SQL, then writes it to the guard. The admission script compares the guard with
the version that the caller was parsed from, and answers *stale* when the guard is newer. Lost guards are harmless:
the script sets a missing one from the caller, and parsed callers live at most 30 seconds.
"""

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Final

from django.db import transaction
from django.db.models import F
from prometheus_client import Counter

from mlplatform.lib import redis
from tenants.models import ApiKey, Tenant

logger = logging.getLogger(__name__)

_failures = Counter("mlplatform_guard_write_failures_total", "Guards that could not be written after a change.")


# As in the admission script: no caller is older than 30 seconds, so a guard matters no longer than that.
_GUARD_TTL_S: Final = 86_400

_raise = redis.Script(Path(__file__).parent / "lua" / "raise_guard.lua")


class StaleCaller(Exception):
    """The key or its tenant changed since the caller was parsed: load it again and ask again."""


def key_guard(shard: int, key_uid: str) -> str:
    """The Redis key of an API key's version."""
    return f"{{s{shard}}}:key:{key_uid}"


def tenant_guard(shard: int, tenant_id: int) -> str:
    """The Redis key of a tenant's version."""
    return f"{{s{shard}}}:tenant:{tenant_id}"


def key_changed(key_id: int) -> None:
    """Grow a key's version now and tell every process when the transaction commits."""
    ApiKey.objects.filter(pk=key_id).update(version=F("version") + 1)
    key = ApiKey.objects.select_related("tenant").only("uid", "version", "tenant__shard").get(pk=key_id)
    _publish_on_commit({key_guard(key.tenant.shard, key.uid): key.version})


def tenants_changed(tenant_ids: Collection[int]) -> None:
    """Grow the versions of tenants now and tell every process when the transaction commits."""
    Tenant.objects.filter(pk__in=tenant_ids).update(version=F("version") + 1)
    rows = Tenant.objects.filter(pk__in=tenant_ids).values_list("pk", "shard", "version")
    _publish_on_commit({tenant_guard(shard, pk): version for pk, shard, version in rows})


def _publish_on_commit(versions: dict[str, int]) -> None:
    transaction.on_commit(lambda: _publish(versions))


def _publish(versions: dict[str, int]) -> None:
    try:
        pipe = redis.state().pipeline(transaction=False)
        for name, version in versions.items():
            # With its whole text: inside a pipeline there is no second try when the server does not know the script.
            pipe.eval(_raise.source, 1, name, version, _GUARD_TTL_S)
        pipe.execute()
    except redis.FAILURES:
        _failures.inc(len(versions))
        logger.exception("guards could not be written; parsed callers end within 30 s: %s", ", ".join(versions))
