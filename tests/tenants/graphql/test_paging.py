"""Connections: pages in both directions that together are the whole, cursors that are refused, and what a page may hold."""

import base64
import datetime as dt
import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlplatform.lib.errors import ErrorKind, PlatformError
from tenants import api_keys
from tenants.graphql import paging
from tenants.models import ApiKey, Membership
from tests.conftest import Customer
from tests.support.graphql_schema import ask, refused, told

KEYS = """query($first: Int, $after: String, $last: Int, $before: String) {
    tenant { keys(first: $first, after: $after, last: $last, before: $before) {
        edges { cursor node { name } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } } }"""


@dataclass(frozen=True)
class Thing:
    name: str


THINGS = paging.Order("things", (("name", str),))


@given(
    st.sets(st.text(alphabet="abcdef", min_size=1, max_size=4), max_size=20),
    st.integers(min_value=1, max_value=7),
    st.booleans(),
)
def test_pages_are_the_whole(names: set[str], size: int, backwards: bool) -> None:
    things = [Thing(name) for name in sorted(names)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        arguments = {"last": size, "before": cursor} if backwards else {"first": size, "after": cursor}
        page = paging.of_list(things, THINGS, **arguments)
        found = [thing.name for thing in page.items]
        assert len(found) <= size
        seen = found + seen if backwards else seen + found
        if not (page.more_before if backwards else page.more_after):
            break
        cursor = page.cursors[0] if backwards else page.cursors[-1]
    assert seen == sorted(names)


@pytest.fixture
def seven(acme: Customer, globex: Customer) -> list[str]:
    """Names of acme's seven keys, newest first; the moments of three are the same."""
    for number in range(6):
        api_keys.issue(tenant=acme.tenant, name=f"Key {number}")
    same = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
    ApiKey.objects.filter(tenant=acme.tenant, name__in=["Key 1", "Key 2", "Key 3"]).update(created_at=same)
    rows = ApiKey.objects.filter(tenant=acme.tenant).order_by("-created_at", "-pk")
    return [row.name for row in rows]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8])
def test_rows_forwards_and_backwards(acme: Customer, seven: list[str], size: int) -> None:
    for forwards in (True, False):
        seen: list[str] = []
        cursor: str | None = None
        for _ in range(10):
            arguments = {"first": size, "after": cursor} if forwards else {"last": size, "before": cursor}
            page = told(acme, KEYS, arguments)["tenant"]["keys"]
            names = [edge["node"]["name"] for edge in page["edges"]]
            seen = seen + names if forwards else names + seen
            info = page["pageInfo"]
            assert (info["startCursor"], info["endCursor"]) == (page["edges"][0]["cursor"], page["edges"][-1]["cursor"])
            if not info["hasNextPage" if forwards else "hasPreviousPage"]:
                break
            cursor = info["endCursor" if forwards else "startCursor"]
        assert seen == seven


def test_a_page_between_two_cursors(acme: Customer, seven: list[str]) -> None:
    edges = told(acme, KEYS, {"first": 7})["tenant"]["keys"]["edges"]
    page = told(acme, KEYS, {"after": edges[1]["cursor"], "before": edges[5]["cursor"]})["tenant"]["keys"]
    assert [edge["node"]["name"] for edge in page["edges"]] == seven[2:5]


def test_a_page_of_nothing(acme: Customer) -> None:
    page = told(acme, KEYS, {"first": 0})["tenant"]["keys"]
    assert page == {
        "edges": [],
        "pageInfo": {"hasNextPage": True, "hasPreviousPage": False, "startCursor": None, "endCursor": None},
    }


def test_a_new_row_does_not_move_the_page(acme: Customer, seven: list[str]) -> None:
    cursor = told(acme, KEYS, {"first": 3})["tenant"]["keys"]["pageInfo"]["endCursor"]
    api_keys.issue(tenant=acme.tenant, name="Newest of all")
    page = told(acme, KEYS, {"first": 10, "after": cursor})["tenant"]["keys"]
    assert [edge["node"]["name"] for edge in page["edges"]] == seven[3:]


def cursor_of(*values: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(list(values)).encode()).decode()


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"first": 101}, "first"),
        ({"first": -1}, "first"),
        ({"last": 101}, "last"),
        ({"first": 1, "last": 1}, "last"),
        ({"after": ""}, "after"),
        ({"after": "no cursor"}, "after"),
        ({"after": cursor_of("keys")}, "after"),
        ({"after": cursor_of("members", 1)}, "after"),
        ({"after": cursor_of("keys", "2026-03-01", 1)}, "after"),
        ({"after": cursor_of("keys", "2026-03-01T00:00:00+00:00", True)}, "after"),
        ({"after": cursor_of("keys", "2026-03-01T00:00:00+00:00", 10**30)}, "after"),
        ({"after": cursor_of("keys", "0001-01-01T00:00:00+14:00", 1)}, "after"),
        ({"after": cursor_of("keys", 5, 1)}, "after"),
        ({"before": base64.urlsafe_b64encode(b"[" * 700).decode()}, "before"),
        ({"before": "A" * 100_000}, "before"),
        ({"before": base64.urlsafe_b64encode(b'{"a": 1}').decode()}, "before"),
        ({"before": base64.urlsafe_b64encode(b"7").decode()}, "before"),
    ],
)
def test_what_is_refused(acme: Customer, arguments: dict[str, object], field: str) -> None:
    answer = ask(acme, KEYS, arguments)
    assert answer.data == {"tenant": {"keys": None}}
    refused(answer, "INVALID_INPUT", "tenant", "keys", field=field)


@given(st.binary(max_size=60))
def test_any_bytes_are_no_cursor_and_nothing_worse(raw: bytes) -> None:
    order = paging.Order("keys", (("created_at", dt.datetime), ("pk", int)))
    with pytest.raises(PlatformError) as caught:
        order.place(base64.urlsafe_b64encode(raw).decode(), field="after")
    assert (caught.value.kind, caught.value.field) == (ErrorKind.INVALID_INPUT, "after")


def test_the_cursor_of_another_tenant_shows_nothing_of_it(acme: Customer, globex: Customer, seven: list[str]) -> None:
    cursor = told(acme, KEYS, {"first": 1})["tenant"]["keys"]["pageInfo"]["endCursor"]
    page = told(globex, KEYS, {"first": 100, "after": cursor})["tenant"]["keys"]
    own = set(ApiKey.objects.filter(tenant=globex.tenant).values_list("name", flat=True))
    assert {edge["node"]["name"] for edge in page["edges"]} <= own
    assert Membership.objects.count() == 2
