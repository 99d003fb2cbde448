"""System checks of the installation, with IDs and hints."""

import os
from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register

from mlplatform.lib import redis_urls
from mlplatform.lib.env import EPHEMERAL_SECRET_PREFIX
from tenants import installation


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


@register(Tags.security, deploy=True)
def redis_asks_for_a_password(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """A Redis without a password lets every program that reaches it read usage and queues, and give the workers work."""
    urls = {
        "REDIS_URL": settings.REDIS_URL,
        "CACHE_REDIS_URL": settings.CACHE_REDIS_URL,
        "BROKER_URL": settings.CELERY_BROKER_URL,
    }
    # Without BROKER_URL the broker is the state Redis, which is named once.
    named = {url: variable for variable, url in reversed(urls.items())}
    return [
        checks.Warning(
            f"{variable} names a Redis on another machine without a password.",
            hint=(
                "Set `requirepass` or an ACL user on that server and write redis://:password@host:port/0, or rediss:// where "
                "the network is not yours alone."
            ),
            id="mlplatform.W004",
        )
        for url, variable in named.items()
        if redis_urls.is_open_to_the_network(url)
    ]


@register(Tags.database)
def redis_is_of_this_installation(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **_: Any
) -> list[CheckMessage]:
    """Asked with the database alone (``check --database default``, ``migrate``), for the id is in it; what does not answer
    has nothing to say."""
    return (
        [Error(found.message, hint=found.hint, id="mlplatform.E003") for found in installation.foreign()]
        if databases
        else []
    )


@register()
def grpc_tls_is_complete(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """A half of TLS must not become plain text, nor a server that does not start."""
    cert, key, authority = settings.GRPC_TLS_CERT, settings.GRPC_TLS_KEY, settings.GRPC_TLS_CLIENT_CA
    found: list[CheckMessage] = []
    if bool(cert) != bool(key):
        found.append(
            Error(
                "Only one of GRPC_TLS_CERT and GRPC_TLS_KEY is set.",
                hint="Set both to PEM files, or none for plain text behind a proxy that ends TLS.",
                id="mlplatform.E010",
            )
        )
    found += [
        Error(f"{name} names a file that cannot be read.", hint="Give the path of a PEM file.", id="mlplatform.E011")
        for name, path in (("GRPC_TLS_CERT", cert), ("GRPC_TLS_KEY", key), ("GRPC_TLS_CLIENT_CA", authority))
        if path and not os.access(path, os.R_OK)
    ]
    if authority and not cert:
        found.append(
            Error(
                "GRPC_TLS_CLIENT_CA is set, but gRPC has no TLS, so no client would show a certificate.",
                hint="Set GRPC_TLS_CERT and GRPC_TLS_KEY too.",
                id="mlplatform.E012",
            )
        )
    return found
