"""``/livez`` (this process answers) and ``/readyz`` (SQL, both Redis servers and a live worker are there)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse

from inference.fleet import workers
from inference.fleet.workers import WorkerInfo
from inference.types import DEFAULT_POOL
from mlplatform.lib import redis


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether predictions can be answered, and what each check found, by name; ``ok`` or what is wrong."""

    ready: bool
    checks: Mapping[str, str]


def readiness() -> Readiness:
    """Look at everything that a prediction needs, now. The cache may be away: it is told but does not count."""
    found = {name: _ask(check) for name, check in _NEEDED.items()}
    return Readiness(all(word == "ok" for word in found.values()), found | {"redis-cache": _ask(_cache)})


def livez(request: HttpRequest) -> JsonResponse:
    """200 as long as the process serves; it asks no other."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    """200 when predictions can be answered, else 503; either way every check by name."""
    found = readiness()
    return JsonResponse(
        {"status": "ok" if found.ready else "unavailable", "checks": found.checks},
        status=200 if found.ready else 503,
        headers={"Cache-Control": "no-store"},
    )


def _ask(check: Callable[[], str]) -> str:
    try:
        return check()
    except DatabaseError:
        return "SQL does not answer"
    except redis.REFUSED:
        return "Redis refuses the password"
    except redis.FAILURES:
        return "Redis does not answer"


def _sql() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return "ok"


def _state() -> str:
    redis.state().ping()
    return "ok"


def _cache() -> str:
    redis.cache().ping()
    return "ok"


def _gpu_worker() -> str:
    # Whatever its pools are: a pool without workers is told to staff, but must not take away what others answer.
    computing = [info for info in workers.alive() if info.computes and not _is_for_tenants(info)]
    if not computing:
        return "no worker gives a sign of life"
    return "every worker is drained" if all(info.draining for info in computing) else "ok"


def _is_for_tenants(info: WorkerInfo) -> bool:
    """Whether the worker computes tenants' models alone, in a pool of their own: those on sale need another."""
    own: str = settings.PRIVATE_MODELS_POOL
    return own != DEFAULT_POOL and info.pools == [own]


_NEEDED: Mapping[str, Callable[[], str]] = {"sql": _sql, "redis-state": _state, "gpu-worker": _gpu_worker}
