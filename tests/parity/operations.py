"""Every operation of every face, found in the code: addresses, services, and root fields of the GraphQL schema."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
from django.urls import URLPattern, URLResolver, get_resolver

from mlplatform import grpc_services
from mlplatform.schema import schema

_METHODS = ("get", "post", "put", "patch", "delete")
_PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>")


@dataclass(frozen=True)
class Operation:
    """``name`` is how ``docs/scopes.md`` writes it, such as ``GET /v2/models/{model}``."""

    face: str
    name: str


def all_of_them() -> set[Operation]:
    """What a key can ask for, and what needs none."""
    return {*_http(), *_grpc(), *_graphql()}


def _http() -> Iterator[Operation]:
    """API versions with the same address are one operation, written with the newest that has it."""
    for route, view in _routes(get_resolver().url_patterns):
        cls = getattr(view, "view_class", None)
        face = "OIP" if route.startswith("oip/") else "OpenAI" if route.startswith("openai/") else "REST"
        if cls is None or not cls.__module__.startswith(("inference.", "billing.")) or "path:rest" in route:
            continue
        if face == "REST":
            if not route.startswith("<api_version:"):
                continue
            route = route.replace("<api_version:path_version>", cls.api_versions[-1])
        for method in _METHODS:
            if hasattr(cls, method):
                yield Operation(face, f"{method.upper()} /" + _PARAMETER.sub(r"{\1}", route))


def _routes(patterns: list[URLPattern | URLResolver], before: str = "") -> Iterator[tuple[str, Any]]:
    for pattern in patterns:
        route = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _routes(pattern.url_patterns, route)
        else:
            yield route, pattern.callback


def _grpc() -> Iterator[Operation]:
    for service in grpc_services.all_services():
        for method in grpc_services.handlers_of(service):
            yield Operation("gRPC", f"{service.name}/{method}")


def _graphql() -> Iterator[Operation]:
    graphql = schema.graphql_schema
    for root in (graphql.query_type, graphql.mutation_type, graphql.subscription_type):
        for field in root.fields if root is not None else ():
            assert root is not None
            yield Operation("GraphQL", f"{root.name.lower()} {field}")


def handlers() -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    """The handlers of the gRPC port by the name of their operation."""
    return {
        f"{service.name}/{method}": handler
        for service in grpc_services.all_services()
        for method, handler in grpc_services.handlers_of(service).items()
    }
