"""Answers, each declared once: an :class:`Answer` is what a view gives, what is written, and its JSON Schema in OpenAPI."""

from typing import Annotated, ClassVar, TypeAlias

import msgspec
from msgspec import UNSET, Meta
from msgspec import UnsetType as Absent

from tenants.http.json_schemas import Schema

__all__ = ["UNSET", "Absent", "Address", "Answer", "Count", "Day", "Moment", "Seconds", "Share"]

Count: TypeAlias = Annotated[int, Meta(ge=0)]
Seconds: TypeAlias = Annotated[float, Meta(ge=0)]
Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
Moment: TypeAlias = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
Address: TypeAlias = Annotated[str, Meta(extra_json_schema={"format": "uri-reference"})]
Day: TypeAlias = Annotated[str, Meta(extra_json_schema={"format": "date"})]


class Answer(msgspec.Struct, frozen=True):
    """A JSON object, whose fields are written in the order of their declaration.

    ``… | None`` is always there and may be null; ``… | Absent = UNSET`` is left out where it has no value.
    """

    more: ClassVar[Schema] = {}
    """What the schema says that no field can."""
