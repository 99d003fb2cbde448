"""What would break a client that was written for an older OpenAPI 3.1 document of the same major version.

What a call may send can only grow; what an answer may say can only shrink, but for fields that are added to open objects.
Both are one question, *is every value that A admits admitted by B?*, asked as old → new for requests and new → old for
answers. It is answered for the JSON Schema that our documents use; what it cannot see through it reports.
"""

from collections.abc import Iterator, Mapping
from itertools import product
from math import inf
from typing import Any, Final

import jsonschema  # type: ignore[import-untyped]

from tests.support.openapi_documents import inlined

Schema = Mapping[str, Any]
Document = Mapping[str, Any]

_METHODS: Final = ("get", "put", "post", "delete", "patch")
_AT_LEAST: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_AT_MOST: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_SAME: Final = ("pattern", "format", "multipleOf", "uniqueItems", "not", "contains", "prefixItems", "patternProperties")
_NAME: Final = "x-component"


def incompatible(old: Document, new: Document, *, growing: Mapping[str, str] | None = None) -> list[str]:
    """Every incompatible change, as ``place: what``; empty when every client of ``old`` can go on with ``new``.

    ``growing`` names places of answers, such as ``Problem.type``, whose values were never a closed set, each with the reason; a
    component with ``?`` at its end, such as ``Scores?``, is a form of answer that only who asks for it can meet.
    """
    return sorted(set(_Comparison(inlined(old), inlined(new), growing or {}).run()))


class _Comparison:
    def __init__(self, old: Document, new: Document, growing: Mapping[str, str]) -> None:
        self.old, self.new, self.growing = old, new, growing
        self._under_way: set[tuple[str, str, bool]] = set()

    def run(self) -> Iterator[str]:
        for path, item in self.old["paths"].items():
            for method in _METHODS:
                if method not in item:
                    continue
                place = f"{method.upper()} {path}"
                now = self.new["paths"].get(path, {}).get(method)
                if now is None:
                    yield f"{place}: the operation was removed"
                else:
                    yield from self._operation(item[method], now, place)

    def _operation(self, old: Schema, new: Schema, place: str) -> Iterator[str]:
        if old.get("operationId") != new.get("operationId"):
            yield f"{place}: the operationId changed, and with it the names in generated clients"
        for way in old.get("security", ()):
            if way not in new.get("security", [way]):
                yield f"{place}: the authentication {', '.join(way)} was removed"
        yield from self._parameters(old.get("parameters", ()), new.get("parameters", ()), place)
        yield from self._request(old.get("requestBody"), new.get("requestBody"), place)
        for status, response in old["responses"].items():
            there = new["responses"].get(status)
            if there is not None:
                yield from self._response(response, there, f"{place} {status}")
            elif status.startswith("2"):
                yield f"{place}: the status {status} was removed"
        for status in set(new["responses"]) - set(old["responses"]):
            if status.startswith("2"):
                yield f"{place}: the status {status} was added, which no client expects"

    def _parameters(self, old: Any, new: Any, place: str) -> Iterator[str]:
        before = {(one["in"], one["name"]): one for one in old}
        after = {(one["in"], one["name"]): one for one in new}
        for key, parameter in before.items():
            where = f"{place} {key[0]} {key[1]}"
            if key not in after:
                yield f"{where}: the parameter was removed"
            else:
                yield from self._needed(parameter, after[key], where)
                yield from self._grows(parameter.get("schema", {}), after[key].get("schema", {}), where)
        for key in set(after) - set(before):
            yield from self._needed({}, after[key], f"{place} {key[0]} {key[1]}")

    def _request(self, old: Schema | None, new: Schema | None, place: str) -> Iterator[str]:
        if old is None or new is None:
            if old is not None:
                yield f"{place}: the request body was removed"
            elif new is not None:
                yield from self._needed({}, new, f"{place} request body")
            return
        yield from self._needed(old, new, f"{place} request body")
        for media_type, content in old["content"].items():
            if media_type not in new["content"]:
                yield f"{place}: the request's type {media_type} was removed"
            else:
                after = new["content"][media_type].get("schema", {})
                yield from self._grows(content.get("schema", {}), after, f"{place} request")

    def _response(self, old: Schema, new: Schema, place: str) -> Iterator[str]:
        for name in old.get("headers", {}):
            if name not in new.get("headers", {}):
                yield f"{place}: the header {name} was removed"
        for media_type, content in old.get("content", {}).items():
            if media_type not in new.get("content", {}):
                yield f"{place}: the answer's type {media_type} was removed"
            else:
                before, after = content.get("schema", {}), new["content"][media_type].get("schema", {})
                yield from self._subset(after, before, self.new, self.old, f"{place} answer", answer=True)

    @staticmethod
    def _needed(old: Schema, new: Schema, place: str) -> Iterator[str]:
        if new.get("required") and not old.get("required"):
            yield f"{place}: it became required"

    def _grows(self, old: Schema, new: Schema, place: str) -> Iterator[str]:
        yield from self._subset(old, new, self.old, self.new, place, answer=False)

    # --- Is every value of A one of B? --------------------------------------------------------------------------------

    def _subset(self, a: Any, b: Any, of_a: Document, of_b: Document, place: str, *, answer: bool) -> list[str]:
        names = (_component(a), _component(b), answer)
        place = names[0] or names[1] or place
        # A schema that names itself is looked at once: what is wrong with it was found on the way there.
        if a is False or b is True or b == {} or names in self._under_way or (place in self.growing and answer):
            return []
        if names[0] and names[1]:
            self._under_way.add(names)
        found: list[str] = []
        for one in _branches(a, of_a):
            if answer and f"{one.get(_NAME)}?" in self.growing:
                continue
            others = (self._plain_subset(one, other, of_a, of_b, place, answer=answer) for other in _branches(b, of_b))
            fewest_first = sorted(others, key=len)
            found += fewest_first[0] if fewest_first else [f"{place}: nothing is admitted any more"]
        self._under_way.discard(names)
        return found

    def _plain_subset(
        self, a: Schema, b: Schema, of_a: Document, of_b: Document, place: str, *, answer: bool
    ) -> list[str]:
        place = a.get(_NAME, place)
        values = a["enum"] if "enum" in a else [a["const"]] if "const" in a else None
        if values is not None:
            wrong = [value for value in values if not _admits(b, of_b, value)]
            return [f"{place}: the value {value!r} is {'new' if answer else 'refused'}" for value in wrong]
        found = [f"{place}: {what}" for what in _narrower(a, b)]
        go_on = {"of_a": of_a, "of_b": of_b, "answer": answer}
        if "array" in _types(a) and "items" in b:
            found += self._subset(a.get("items", {}), b["items"], place=f"{place}[]", **go_on)  # type: ignore[arg-type]
        if "object" in _types(a):
            found += self._objects(a, b, place, go_on)
        return found

    def _objects(self, a: Schema, b: Schema, place: str, go_on: dict[str, Any]) -> list[str]:
        found = []
        if go_on["answer"]:
            gone = [name for name in b.get("properties", {}) if name not in a.get("properties", {})]
            found += [f"{place}.{name}: the field was removed" for name in gone]
        for name in b.get("required", ()):
            if name not in a.get("required", ()):
                found.append(
                    f"{place}.{name}: {'it is no longer always there' if go_on['answer'] else 'it became required'}"
                )
        rest = b.get("additionalProperties", True)
        for name, schema in a.get("properties", {}).items():
            if name in b.get("properties", {}):
                found += self._subset(schema, b["properties"][name], place=f"{place}.{name}", **go_on)
            elif rest is False:
                found.append(
                    f"{place}.{name}: the field is {'new, where none was promised' if go_on['answer'] else 'refused'}"
                )
            else:
                found += self._subset(schema, rest, place=f"{place}.{name}", **go_on)
        others = a.get("additionalProperties", True)
        if others is not False and rest is not True:
            found += (
                [f"{place}: further fields are refused"]
                if rest is False
                else self._subset(others, rest, place=f"{place}.*", **go_on)
            )
        return found


def _component(schema: Any) -> str:
    """Places below a component are named after it, so that they read the same wherever it is used."""
    target = schema.get("$ref", "") if isinstance(schema, Mapping) else ""
    return str(target).rpartition("/")[2]


def _branches(schema: Any, document: Document) -> list[Schema]:
    """The schema without references and alternatives: every way in which it can be met."""
    if schema is True:
        return [{}]
    if schema is False:
        return []
    if "$ref" in schema:
        target: Any = document
        for step in schema["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        named = {_NAME: _component(schema)}
        schema = {**target, **named, **{name: value for name, value in schema.items() if name != "$ref"}}
    base = {name: value for name, value in schema.items() if name not in {"allOf", "anyOf", "oneOf"}}
    kinds = base.get("type")
    if isinstance(kinds, list) and "enum" not in base:  # Several types are alternatives too, said in one word.
        return [branch for kind in kinds for branch in _branches({**schema, "type": kind}, document)]
    choices = [_branches(part, document) for part in schema.get("allOf", ())]
    choices += [
        [branch for part in schema[word] for branch in _branches(part, document)]
        for word in ("anyOf", "oneOf")
        if word in schema
    ]
    return [_merged([base, *chosen]) for chosen in product(*choices)]


def _merged(parts: list[Schema]) -> Schema:
    merged: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            if name == "required":
                merged[name] = [*merged.get(name, ()), *value]
            elif name == "properties":
                merged[name] = {**merged.get(name, {}), **value}
            else:
                merged[name] = value
    return merged


def _types(schema: Schema) -> set[str]:
    """The types that a schema admits; each of them where it names none, and integers wherever numbers are."""
    named = schema.get("type", ["null", "boolean", "number", "string", "array", "object"])
    types = {named} if isinstance(named, str) else set(named)
    return types | {"integer"} if "number" in types else types


def _narrower(a: Schema, b: Schema) -> Iterator[str]:
    """By what word of its own B admits less than A."""
    if more := _types(a) - _types(b):
        yield f"the types {sorted(more)} are on one side only"
    if "enum" in b or "const" in b:
        yield "any value against a closed set of values"
    for word in _AT_LEAST:
        counts = word in {"minLength", "minItems", "minProperties"}
        if word in b and b[word] > a.get(word, 0 if counts else -inf):
            yield f"{word} is {a.get(word, 'not there')} against {b[word]}"
    for word in _AT_MOST:
        if word in b and b[word] < a.get(word, inf):
            yield f"{word} is {a.get(word, 'not there')} against {b[word]}"
    for word in _SAME:
        if word in b and a.get(word) != b[word]:
            yield f"{word} is {a.get(word, 'not there')} against {b[word]}"


def _admits(schema: Schema, document: Document, value: Any) -> bool:
    whole = {"components": document.get("components", {}), **schema}
    return bool(jsonschema.Draft202012Validator(whole).is_valid(value))
