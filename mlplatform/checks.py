"""System checks of the installation, with IDs and hints."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register

from mlplatform.lib.env import EPHEMERAL_SECRET_PREFIX


@register(Tags.security, deploy=True)
def secret_key_is_kept(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """A random key of this process signs sessions that the next process refuses."""
    if settings.SECRET_KEY.startswith(EPHEMERAL_SECRET_PREFIX):
        return [
            Error(
                "No SECRET_KEY is set and DATA_DIR holds none, so each process made its own.",
                hint="Set SECRET_KEY, or start once with `make run`, which keeps one in DATA_DIR/secret_key.",
                id="mlplatform.E001",
            )
        ]
    return []


@register()
def redis_roles_are_apart(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """The eviction policy is per server: a cache that evicts must not share the server of limits and queues."""
    if settings.REDIS_URL.rsplit("/", 1)[0] == settings.CACHE_REDIS_URL.rsplit("/", 1)[0]:
        return [
            Error(
                "REDIS_URL and CACHE_REDIS_URL name the same server.",
                hint="Run two servers: one that never evicts (state), one with allkeys-lru (cache).",
                id="mlplatform.E002",
            )
        ]
    return []
