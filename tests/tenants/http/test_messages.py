"""A message reads what its JSON Schema admits, and names the field and what it must be for all else."""

from typing import Annotated, Any, Literal

import jsonschema  # type: ignore[import-untyped]
import pytest
from msgspec import Meta

from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants.http import json_schemas, messages
from tenants.http.messages import EmptyRequest, Message


class Address(Message, frozen=True):
    """Where it goes."""

    lines: Annotated[tuple[Annotated[str, Meta(max_length=9)], ...], Meta(max_length=2)] = ()


class Order(Message, frozen=True):
    """What is ordered."""

    name: Annotated[str, Meta(min_length=1, max_length=8, examples=["tea"])]
    count: Annotated[int, Meta(ge=1, le=1_000)] = 1
    weight: Annotated[float, Meta(ge=0, le=5, description="In kilograms.")] | None = None
    urgent: bool = False
    address: Address = Address()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"name": "tea"}, Order(name="tea")),
        ({"name": "tea", "count": None, "weight": None, "urgent": None}, Order(name="tea")),
        ({"name": "tea", "count": 1_000, "weight": 5, "urgent": True}, Order("tea", 1_000, 5.0, True)),
        ({"name": "€" * 8}, Order("€" * 8)),
        ({"name": "tea", "address": {"lines": ["A", "B"]}}, Order(name="tea", address=Address(("A", "B")))),
        ({"name": "tea", "address": {"lines": None}}, Order(name="tea")),
    ],
)
def test_what_fits_is_read(body: dict[str, Any], expected: Order) -> None:
    assert messages.read(body, Order) == expected


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({}, "name", "The field 'name' is missing."),
        ({"name": None}, "name", "The field 'name' is missing."),
        ({"name": "tea", "nmae": 1}, "nmae", "Unknown field 'nmae'; there are address, count, name, urgent, weight."),
        (
            {"name": "tea", "nmae": None},
            "nmae",
            "Unknown field 'nmae'; there are address, count, name, urgent, weight.",
        ),
        ({"name": ""}, "name", "The field 'name' is text of 1 to 8 characters; it has 0."),
        ({"name": "x" * 9}, "name", "The field 'name' is text of 1 to 8 characters; it has 9."),
        ({"name": ["tea"]}, "name", "The field 'name' is text of 1 to 8 characters."),
        ({"name": "tea", "count": 0}, "count", "The field 'count' is a whole number from 1 to 1,000."),
        ({"name": "tea", "count": 5.0}, "count", "The field 'count' is a whole number from 1 to 1,000."),
        ({"name": "tea", "count": True}, "count", "The field 'count' is a whole number from 1 to 1,000."),
        ({"name": "tea", "count": "5"}, "count", "The field 'count' is a whole number from 1 to 1,000."),
        ({"name": "tea", "count": 10**400}, "count", "The field 'count' is a whole number from 1 to 1,000."),
        ({"name": "tea", "weight": 5.1}, "weight", "The field 'weight' is a number from 0 to 5."),
        ({"name": "tea", "weight": True}, "weight", "The field 'weight' is a number from 0 to 5."),
        ({"name": "tea", "weight": 10**400}, "weight", "The field 'weight' is a number from 0 to 5."),
        ({"name": "tea", "weight": -(10**400)}, "weight", "The field 'weight' is a number from 0 to 5."),
        ({"name": "tea", "urgent": 1}, "urgent", "The field 'urgent' is true or false."),
        ({"name": "tea", "address": "here"}, "address", "The field 'address' is an object."),
        (
            {"name": "tea", "address": {"lines": "x"}},
            "address.lines",
            "The field 'lines' is a list of at most 2 entries.",
        ),
        (
            {"name": "tea", "address": {"lines": ["x"] * 3}},
            "address.lines",
            "The field 'lines' is a list of at most 2 entries; it has 3.",
        ),
        (
            {"name": "tea", "address": {"lines": ["x", 5]}},
            "address.lines[1]",
            "The field 'lines[1]' is text of at most 9 characters.",
        ),
        ({"name": "tea", "address": {"town": "x"}}, "address.town", "Unknown field 'town'; there are lines."),
    ],
)
def test_what_does_not_fit_names_its_field(body: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(PlatformError) as raised:
        messages.read(body, Order)
    assert (raised.value.kind, raised.value.field, raised.value.detail) == (ErrorKind.INVALID_INPUT, field, words)


def test_a_place_is_named_from_the_call_down() -> None:
    with pytest.raises(PlatformError) as raised:
        messages.read({"name": "tea", "address": {"lines": [5]}}, Order, path="orders[3].")
    assert raised.value.field == "orders[3].address.lines[0]"
    with pytest.raises(PlatformError) as raised:
        messages.read({"address": {"lines": [5]}}, Order, path="orders[3].")
    assert raised.value.field == "orders[3].name"


class Bounds(Message, frozen=True):
    """Fields with one bound only."""

    least: Annotated[int, Meta(ge=3)] = 3
    most: Annotated[float, Meta(le=2_000)] = 0
    long: Annotated[str, Meta(min_length=2)] = "ab"
    some: Annotated[tuple[int, ...], Meta(min_length=1)] = (1,)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("least", 2, "The field 'least' is a whole number at least 3."),
        ("most", 2_001, "The field 'most' is a number at most 2,000."),
        ("long", "a", "The field 'long' is text of at least 2 characters; it has 1."),
        ("some", [], "The field 'some' is a list of at least 1 entries; it has 0."),
    ],
)
def test_one_bound_is_said_alone(field: str, value: Any, words: str) -> None:
    with pytest.raises(PlatformError) as raised:
        messages.read({field: value}, Bounds)
    assert (raised.value.field, raised.value.detail) == (field, words)


def test_a_message_that_says_nothing_takes_nothing() -> None:
    assert messages.read({}, EmptyRequest) == EmptyRequest()
    with pytest.raises(PlatformError) as raised:
        messages.read({"to": "1.0.0"}, EmptyRequest)
    assert (raised.value.field, raised.value.detail) == ("to", "Unknown field 'to'; this body has none.")


def test_its_schema_says_the_same() -> None:
    schema = json_schemas.component(Order)
    assert schema == {
        "type": "object",
        "description": "What is ordered.",
        "required": ["name"],
        "additionalProperties": False,
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 8, "examples": ["tea"]},
            "count": {"type": "integer", "minimum": 1, "maximum": 1_000, "default": 1},
            "weight": {"type": "number", "minimum": 0, "maximum": 5, "description": "In kilograms."},
            "urgent": {"type": "boolean", "default": False},
            "address": {"$ref": "#/components/schemas/Address"},
        },
    }
    jsonschema.Draft202012Validator.check_schema(schema)
    assert json_schemas.component(EmptyRequest)["properties"] == {}


class Basket(Message, frozen=True):
    """Several orders."""

    orders: Annotated[tuple[Order, ...], Meta(min_length=1, max_length=2)]
    note: Any = None


def test_messages_in_a_list_are_read_with_it() -> None:
    expected = Basket((Order("tea"), Order("milk", address=Address(("A",)))))
    assert (
        messages.read({"orders": [{"name": "tea"}, {"name": "milk", "address": {"lines": ["A"]}}]}, Basket) == expected
    )
    with_nulls = {"name": "milk", "count": None, "address": {"lines": ["A"]}, "urgent": None}
    assert messages.read({"orders": [{"name": "tea", "address": None}, with_nulls]}, Basket) == expected


@pytest.mark.parametrize(
    ("orders", "field", "words"),
    [
        (None, "orders", "The field 'orders' is missing."),
        ([], "orders", "The field 'orders' is a list of 1 to 2 entries; it has 0."),
        ([{"name": "tea"}] * 3, "orders", "The field 'orders' is a list of 1 to 2 entries; it has 3."),
        ({"name": "tea"}, "orders", "The field 'orders' is a list of 1 to 2 entries."),
        ([{"name": "tea"}, 5], "orders[1]", "The field 'orders[1]' is an object."),
        ([{"name": "tea"}, None], "orders[1]", "The field 'orders[1]' is an object."),
        ([{"name": "tea"}, {}], "orders[1].name", "The field 'name' is missing."),
        ([{"name": "tea", "nmae": None}], "orders[0].nmae", "Unknown field 'nmae'"),
        ([{"name": "tea", "address": {"lines": [5]}}], "orders[0].address.lines[0]", "The field 'lines[0]' is text"),
    ],
)
def test_what_does_not_fit_in_a_list_names_its_place(orders: Any, field: str, words: str) -> None:
    with pytest.raises(PlatformError) as raised:
        messages.read({"orders": orders}, Basket)
    assert (raised.value.kind, raised.value.field) == (ErrorKind.INVALID_INPUT, field)
    assert words in raised.value.detail


def test_entries_of_a_list_can_be_read_one_by_one() -> None:
    found = messages.entries({"orders": [{"name": ""}, 5], "note": None}, Basket, "orders")
    assert list(found) == [({"name": ""}, "orders[0]."), (5, "orders[1].")]
    with pytest.raises(PlatformError) as raised:
        messages.read(5, Order, path="orders[1].")
    assert (raised.value.field, raised.value.detail) == ("orders[1]", "The field 'orders[1]' is an object.")


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({}, "orders", "The field 'orders' is missing."),
        ({"orders": []}, "orders", "The field 'orders' is a list of 1 to 2 entries; it has 0."),
        ({"orders": [1, 2, 3]}, "orders", "The field 'orders' is a list of 1 to 2 entries; it has 3."),
        ({"orders": "tea"}, "orders", "The field 'orders' is a list of 1 to 2 entries."),
        ({"orders": [1], "more": 1}, "more", "Unknown field 'more'; there are note, orders."),
    ],
)
def test_a_list_to_be_read_one_by_one_has_its_bounds(body: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(PlatformError) as raised:
        messages.entries(body, Basket, "orders")
    assert (raised.value.field, raised.value.detail) == (field, words)


class Parcel(Message, frozen=True, kw_only=True):
    """Anything, and how it goes."""

    label: str | None = None
    plain: Any
    described: Annotated[Any, Meta(description="Whatever is in it.")]
    speed: Literal["slow", "fast"] = "slow"


def test_what_may_be_anything_may_not_be_null() -> None:
    thing = {"a": [None, 1]}
    assert messages.read({"plain": thing, "described": False}, Parcel) == Parcel(plain=thing, described=False)
    for name in ("plain", "described"):
        for body in ({"plain": 1, "described": 1, name: None}, {"plain": 1, "described": 1, name: None, "label": None}):
            with pytest.raises(PlatformError) as raised:
                messages.read(body, Parcel)
            assert (raised.value.field, raised.value.detail) == (name, f"The field {name!r} is missing.")


def test_one_of_a_few_texts_names_them() -> None:
    with pytest.raises(PlatformError) as raised:
        messages.read({"plain": 1, "described": 1, "speed": "faster"}, Parcel)
    assert (raised.value.field, raised.value.detail) == ("speed", "The field 'speed' is one of 'fast', 'slow'.")
