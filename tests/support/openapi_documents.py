"""OpenAPI documents as they read once what they share is put back where it is used."""

from typing import Any

_SHARED = ("headers", "parameters", "examples", "responses")


def inlined(document: Any) -> Any:
    """The document with references to shared responses, headers, parameters and examples replaced by what they name.

    Schemas stay references: they may name themselves, and tools name places after them.
    """
    components = document.get("components", {})

    def put_back(part: Any) -> Any:
        if isinstance(part, dict):
            target = part.get("$ref")
            if isinstance(target, str):
                _, _, kind, name = target.split("/", 3)
                return put_back(components[kind][name]) if kind in _SHARED else part
            return {name: put_back(value) for name, value in part.items()}
        return [put_back(one) for one in part] if isinstance(part, list) else part

    return {**document, "paths": put_back(document["paths"])}


def without_shared(document: Any) -> Any:
    """The same without the components that were put back: two documents that are equal then say the same."""
    put_back = inlined(document)
    kept = {kind: value for kind, value in put_back.get("components", {}).items() if kind not in _SHARED}
    return {**put_back, "components": kept}
