"""What several operations of an OpenAPI document have in common stands in its components once, and they refer to it.

Written out everywhere, the problems of forty operations with a dozen headers each were four fifths of the document.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from tenants.rest.openapi import NAME

Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """A part of the document that may stand in the components: ``holder[key]``, wanted under ``name``."""

    holder: Any
    key: Any
    name: str

    @property
    def part(self) -> Any:
        return self.holder[self.key]


def share(paths: Schema) -> Schema:
    """Move what is said more than once, and every problem, from ``paths`` to the components that are returned."""
    operations = [operation for item in paths.values() for operation in item.values()]
    headers = _moved("headers", [place for operation in operations for place in _headers(operation)], least=1)
    parameters = _moved("parameters", [place for operation in operations for place in _parameters(operation)])
    examples = _moved("examples", [place for operation in operations for place in _examples(operation)])
    problems = _moved("responses", [place for operation in operations for place in _problems(operation)], least=1)
    answers = _moved("responses", [place for operation in operations for place in _answers(operation)])
    responses = dict(sorted((problems | answers).items()))
    return {"headers": headers, "parameters": parameters, "examples": examples, "responses": responses}


def _moved(kind: str, places: Iterable[Place], *, least: int = 2) -> Schema:
    """The components of a kind: what is said at least so many times. Of several things that want one name, what is said most
    gets it, and the others stay where they are."""
    by_content: dict[bytes, list[Place]] = {}
    for place in places:
        by_content.setdefault(orjson.dumps((place.name, place.part)), []).append(place)
    components: Schema = {}
    for same in sorted(by_content.values(), key=len, reverse=True):
        name = same[0].name
        if len(same) < least or name in components:
            continue
        components[name] = same[0].part
        for place in same:
            place.holder[place.key] = {"$ref": f"#/components/{kind}/{name}"}
    return dict(sorted(components.items()))


def _headers(operation: Schema) -> Iterator[Place]:
    for response in operation["responses"].values():
        headers = response.get("headers", {})
        yield from (Place(headers, name, name) for name in headers)


def _parameters(operation: Schema) -> Iterator[Place]:
    parameters = operation.get("parameters", [])
    yield from (Place(parameters, number, one["name"]) for number, one in enumerate(parameters))


def _examples(operation: Schema) -> Iterator[Place]:
    for content in operation.get("requestBody", {}).get("content", {}).values():
        examples = content.get("examples", {})
        yield from (Place(examples, name, re.sub(r"[^A-Za-z0-9]", "", name)) for name in examples)


def _problems(operation: Schema) -> Iterator[Place]:
    """Problems by their kinds; those of operations that tell of ending versions have more headers, and names of their own."""
    responses = operation["responses"]
    for status, response in responses.items():
        kinds = response.pop(NAME, "")
        if kinds:
            further = "OfEndingVersion" if "Deprecation" in response["headers"] else ""
            yield Place(responses, status, f"{kinds}{further}")


def _answers(operation: Schema) -> Iterator[Place]:
    """Good answers by the one schema that they have."""
    responses = operation["responses"]
    for status, response in responses.items():
        contents = list(response.get("content", {}).values())
        if len(contents) == 1 and "$ref" in contents[0]["schema"]:
            yield Place(responses, status, contents[0]["schema"]["$ref"].rpartition("/")[2])
