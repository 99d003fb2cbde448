"""What a view declares of its operations. The OpenAPI documents are made of it, by ``tenants/rest/openapi.py``.

Declarations are plain data on the view that serves, so that a process which only serves never loads what writes documents.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar

from msgspec import Meta

from mlplatform.lib.errors import ErrorKind
from tenants.http.answers import Answer
from tenants.http.json_schemas import Schema, Shape, field_schema
from tenants.http.messages import Message

ApiVersionName: TypeAlias = Annotated[str, Meta(extra_json_schema={"pattern": r"^v\d+(\.\d+)?$", "example": "v2"})]
"""The name of an API version; which there are is data, not code."""
API_VERSION_NAME: Final = field_schema(ApiVersionName)

ANY_VERSION: Final = ""
"""In place of an API version: the address without one."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a call; or, where ``response`` is given, a header of answers: of all, or of those with these codes."""

    name: str
    schema: Schema
    place: Literal["query", "path", "header"]
    description: str
    response: bool | tuple[int, ...] = False


@dataclass(frozen=True, slots=True)
class Example:
    """A body that can be sent as it is."""

    name: str
    value: Any


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiOperation:
    """One operation. ``kinds`` are its problems beyond those that any call can meet.

    ``request`` is the message that its body is read as, ``answer`` what it answers with: a class, or several of which it is one.
    ``bodies`` gives further media types of the body, beside the JSON of ``request`` or in place of it; ``also`` those of the
    good answer; ``status`` is the good answer's.
    """

    id: str
    tag: str
    summary: str
    description: str
    answer: type[Answer] | tuple[type[Answer], ...]
    request: type[Message] | tuple[type[Message], ...] | None = None
    kinds: Sequence[ErrorKind] = ()
    parameters: Sequence[Parameter] = ()
    examples: Sequence[Example] = ()
    also: Mapping[str, Shape] = field(default_factory=dict)
    status: int = 200
    bodies: Mapping[str, Shape] = field(default_factory=dict)

    def shapes(self) -> Iterator[Shape]:
        """Of all its bodies."""
        yield from (self.answer, *self.also.values(), *self.bodies.values())
        if self.request is not None:
            yield self.request


_View = TypeVar("_View", bound=type[Any])


def documented(api_version: str = "v2", **operations: ApiOperation) -> Callable[[_View], _View]:
    """Declares the operations of a view below ``/{api_version}/``, by method: ``@documented(get=…, post=…)``."""

    def mark(view: _View) -> _View:
        view.operations = {**view.operations, api_version: operations}
        return view

    return mark


def header(name: str, description: str, schema: Schema, *, codes: Sequence[int] = ()) -> Parameter:
    """A header of answers: of all, or of those with these status codes."""
    return Parameter(name, schema, "header", description, response=tuple(codes) or True)


def offered(name: str, description: str, schema: Schema) -> Parameter:
    """A header that a call may carry."""
    return Parameter(name, schema, "header", description)


def query(name: str, description: str, schema: Schema) -> Parameter:
    """A parameter of the query."""
    return Parameter(name, schema, "query", description)


def in_path(name: str, description: str, schema: Schema) -> Parameter:
    """A part of the address."""
    return Parameter(name, schema, "path", description)
