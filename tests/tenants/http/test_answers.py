"""An answer is written as it is declared, and its JSON Schema says what is written."""

from typing import Annotated, Any, ClassVar

import jsonschema  # type: ignore[import-untyped]
import orjson
import pytest
from msgspec import Meta, field

from tenants.http import json_schemas
from tenants.http.answers import UNSET, Absent, Answer, Count, Moment
from tenants.http.json_schemas import any_of, components, one_of, schema_of
from tenants.rest.renderers import OrjsonRenderer


class Line(Answer, frozen=True):
    """One thing of an order."""

    name: str
    weight: Annotated[float | None, Meta(description="In kilograms; null for a letter.")]


class Order(Answer, frozen=True, kw_only=True):
    """What was ordered."""

    more: ClassVar[json_schemas.Schema] = {"minProperties": 4}

    placed: Moment = field(name="from")
    state: Annotated[str, one_of(["sent", "open"])] | None
    note: Annotated[str, Meta(description="Only where there is one.")] | Absent = UNSET
    lines: list[Line]
    gift: Annotated[Line | None, Meta(description="Goes with it.")]
    count: Count


NOW = "2026-11-29T02:00:00+00:00"


def written(answer: Any) -> Any:
    return orjson.loads(OrjsonRenderer().render(answer))


def test_fields_are_written_in_their_order_and_under_their_names() -> None:
    order = Order(placed=NOW, state=None, lines=[Line("tea", 0.5)], gift=None, count=1)
    body = written(order)
    assert body == {
        "from": NOW,
        "state": None,
        "lines": [{"name": "tea", "weight": 0.5}],
        "gift": None,
        "count": 1,
    }
    assert list(body) == ["from", "state", "lines", "gift", "count"]
    with_note = written({"orders": [Order(placed=NOW, state="sent", note="", lines=[], gift=None, count=0)]})
    assert list(with_note["orders"][0]) == ["from", "state", "note", "lines", "gift", "count"]


def test_its_schema_says_what_is_written() -> None:
    schemas = components([Order])
    assert schemas["Order"] == {
        "type": "object",
        "description": "What was ordered.",
        "required": ["from", "state", "lines", "gift", "count"],
        "minProperties": 4,
        "properties": {
            "from": {"type": "string", "format": "date-time"},
            "state": {"type": ["string", "null"], "enum": ["sent", "open", None]},
            "note": {"type": "string", "description": "Only where there is one."},
            "lines": {"type": "array", "items": {"$ref": "#/components/schemas/Line"}},
            "gift": {
                "anyOf": [{"$ref": "#/components/schemas/Line"}, {"type": "null"}],
                "description": "Goes with it.",
            },
            "count": {"type": "integer", "minimum": 0},
        },
    }
    assert schemas["Line"]["properties"]["weight"] == {
        "type": ["number", "null"],
        "description": "In kilograms; null for a letter.",
    }
    validator = jsonschema.Draft202012Validator(schemas["Order"] | {"components": {"schemas": schemas}})
    validator.check_schema(schemas["Order"])
    validator.validate(written(Order(placed=NOW, state=None, lines=[Line("tea", None)], gift=Line("a", 1), count=1)))


def test_a_body_of_several_classes_is_any_of_them() -> None:
    line, order = {"$ref": "#/components/schemas/Line"}, {"$ref": "#/components/schemas/Order"}
    assert schema_of((Line, Order)) == {"anyOf": [line, order]}
    assert json_schemas.field_schema(list[Annotated[Any, any_of(Line, Order)]]) == {
        "type": "array",
        "items": {"anyOf": [line, order]},
    }
    assert set(components([(Line, Order), {"type": "string"}])) == {"Line", "Order"}


def test_two_classes_of_one_name_are_refused() -> None:
    class Other(Answer, frozen=True):
        """Another thing."""

        size: int

    Other.__name__ = "Line"
    with pytest.raises(ValueError, match="Two classes want to be the component Line"):
        components([Order, Other])
