"""Builds an OpenAPI document: drf-spectacular walks the addresses, their views declare, the components are joined to it."""

from collections.abc import Iterator, Sequence
from typing import Any

from django.urls import URLPattern, URLResolver
from drf_spectacular.generators import EndpointEnumerator, SchemaGenerator
from drf_spectacular.settings import patched_settings

from mlplatform.docs.nulls import admit_null
from mlplatform.docs.sharing import share
from tenants.http.json_schemas import Shape, components
from tenants.http.problems import Problem
from tenants.rest.openapi import SECURITY_SCHEMES, api_version_of


class _DeclaredOnly(EndpointEnumerator):
    """An address below an API version for which its view declares nothing is not there."""

    def should_include_endpoint(self, path: str, callback: Any) -> bool:
        return api_version_of(path) in callback.cls.operations


class _Generator(SchemaGenerator):
    endpoint_inspector_cls = _DeclaredOnly


def build(addresses: Sequence[URLPattern | URLResolver], *, info: dict[str, str]) -> dict[str, Any]:
    """The document of what is declared for these addresses."""
    with patched_settings({"OAS_VERSION": "3.1.0"}):
        made: Any = _Generator  # drf-spectacular types only its decorators
        generator = made(patterns=list(addresses))
        built: dict[str, Any] = generator.get_schema(request=None, public=True)
    built["info"] = info
    schemas = components(_shapes(generator))
    admit_null(built["paths"], schemas)
    used = _used(built["paths"], schemas)
    built["components"] = {
        **share(built["paths"]),
        "schemas": {name: schemas[name] for name in sorted(used)},
        "securitySchemes": SECURITY_SCHEMES,
    }
    return built


def _shapes(generator: Any) -> Iterator[Shape]:
    """What the bodies of all operations are, and problems."""
    yield Problem
    for path, _, method, callback in generator.endpoints:
        yield from callback.cls.operations[api_version_of(path)][method.lower()].shapes()


def _used(part: Any, schemas: dict[str, Any]) -> set[str]:
    """Names of the schemas that a part of the document refers to, and those that they refer to."""
    found: set[str] = set()
    waiting = [part]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            target = value.get("$ref")
            if isinstance(target, str):
                name = target.rpartition("/")[2]
                if target.startswith("#/components/schemas/") and name not in found:
                    found.add(name)
                    waiting.append(schemas[name])
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return found
