"""Relay connections over rows and over lists: pages by keyset, with opaque cursors and at most 100 items.

A cursor holds the values by which its item is ordered, so a page stays right when rows come or go before it.
"""

import base64
import datetime as dt
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import graphene
from django.db.models import Model, Q, QuerySet
from graphene.relay import PageInfo

from mlplatform.lib.errors import PlatformError, invalid
from mlplatform.lib.graphql_cost import cost

T = TypeVar("T")
M = TypeVar("M", bound=Model)

MAX_PAGE: Final = 100
DEFAULT_PAGE: Final = 20
_MAX_CURSOR: Final = 1024
_MAX_NUMBER: Final = 2**63 - 1


def connection(of: Any, *, scope: str = "", **options: Any) -> Any:
    """A field that answers with a page of the connection ``of``; its resolver is given the arguments as ``**page``.

    It can be null: without the scope, or for a cursor that is none, only this field has no answer.
    """
    field = graphene.Field(
        of,
        first=graphene.Int(description=f"How many from the start, at most {MAX_PAGE}; {DEFAULT_PAGE} without it."),
        after=graphene.String(description="The cursor behind which the page starts."),
        last=graphene.Int(description=f"How many from the end, at most {MAX_PAGE}; in place of `first`."),
        before=graphene.String(description="The cursor before which the page ends."),
        **options,
    )
    return cost(field, scope=scope, multiplier="first last", assumed=DEFAULT_PAGE)


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of the whole is wanted; ``size`` counts from the end when ``backwards``."""

    size: int
    backwards: bool
    after: str | None
    before: str | None


def window(
    first: int | None = None, after: str | None = None, last: int | None = None, before: str | None = None
) -> Window:
    """The page that the arguments ask for. Raises INVALID_INPUT that names the argument."""
    if first is not None and last is not None:
        raise invalid("last", "Ask for the first or for the last items, not for both.")
    name, size = ("first", first) if last is None else ("last", last)
    if size is None:
        size = DEFAULT_PAGE
    if not 0 <= size <= MAX_PAGE:
        raise invalid(name, f"A page has from 0 to {MAX_PAGE} items, not {size}.")
    return Window(size=size, backwards=last is not None, after=after, before=before)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Items in order with their cursors, and whether there is more on either side."""

    items: Sequence[T]
    cursors: Sequence[str]
    more_before: bool
    more_after: bool

    def of(self, connection_type: Any) -> Any:
        """The page as an object of this connection."""
        return connection_type(
            edges=[
                connection_type.Edge(node=item, cursor=cursor)
                for item, cursor in zip(self.items, self.cursors, strict=True)
            ],
            page_info=PageInfo(
                has_next_page=self.more_after,
                has_previous_page=self.more_before,
                start_cursor=self.cursors[0] if self.cursors else None,
                end_cursor=self.cursors[-1] if self.cursors else None,
            ),
        )


@dataclass(frozen=True, slots=True)
class Order:
    """How a connection is ordered: by columns that name each row once, all up or all down.

    ``name`` is the connection's, so that another's cursor is refused. ``columns`` are names of attributes with the types
    of their values: ``dt.datetime``, ``int`` or ``str``.
    """

    name: str
    columns: Sequence[tuple[str, type]]
    descending: bool = False

    def cursor(self, item: Any) -> str:
        """The opaque place of an item."""
        values = [getattr(item, column) for column, _ in self.columns]
        plain = [value.isoformat() if isinstance(value, dt.datetime) else value for value in values]
        return base64.urlsafe_b64encode(json.dumps([self.name, *plain]).encode()).decode().rstrip("=")

    def place(self, cursor: str, *, field: str) -> tuple[Any, ...]:
        """The values in a cursor. Raises INVALID_INPUT for anything else than a cursor of this connection."""
        try:
            if len(cursor) > _MAX_CURSOR:
                raise ValueError("too long")
            padded = cursor + "=" * (-len(cursor) % 4)
            name, *values = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
            if name != self.name or len(values) != len(self.columns):
                raise ValueError("of another connection")
            return tuple(_typed(value, kind) for value, (_, kind) in zip(values, self.columns, strict=True))
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise _no_cursor(field) from error


def of_rows(rows: QuerySet[M], order: Order, **arguments: Any) -> Page[M]:
    """A page of rows, in one query that reads one row more than the page has."""
    wanted = window(**arguments)
    if wanted.after is not None:
        rows = rows.filter(_beyond(order, wanted.after, field="after", forwards=True))
    if wanted.before is not None:
        rows = rows.filter(_beyond(order, wanted.before, field="before", forwards=False))
    down = order.descending != wanted.backwards
    rows = rows.order_by(*[f"-{column}" if down else column for column, _ in order.columns])
    read = list(rows[: wanted.size + 1])
    return _cut(read, wanted, order.cursor)


def of_list(items: Sequence[T], order: Order, **arguments: Any) -> Page[T]:
    """A page of what lies in memory, already in the order's order."""
    wanted = window(**arguments)

    def place(item: T) -> tuple[Any, ...]:
        return tuple(getattr(item, column) for column, _ in order.columns)

    kept = list(items)
    if wanted.after is not None:
        after = order.place(wanted.after, field="after")
        kept = [item for item in kept if place(item) > after]
    if wanted.before is not None:
        before = order.place(wanted.before, field="before")
        kept = [item for item in kept if place(item) < before]
    if wanted.backwards:
        kept.reverse()
    return _cut(kept[: wanted.size + 1], wanted, order.cursor)


def _cut(read: Sequence[T], wanted: Window, cursor: Callable[[T], str]) -> Page[T]:
    """``read`` starts where counting starts, and has one item more than the page where there is more."""
    more, items = len(read) > wanted.size, list(read[: wanted.size])
    if wanted.backwards:
        items.reverse()
    return Page(
        items=items,
        cursors=[cursor(item) for item in items],
        more_before=more if wanted.backwards else wanted.after is not None,
        more_after=wanted.before is not None if wanted.backwards else more,
    )


def _beyond(order: Order, cursor: str, *, field: str, forwards: bool) -> Q:
    """What lies behind the cursor, or before it: later columns decide among rows that are equal in earlier ones."""
    comparison = "lt" if order.descending == forwards else "gt"
    condition, equal = Q(), Q()
    for (column, _), value in zip(order.columns, order.place(cursor, field=field), strict=True):
        condition |= equal & Q(**{f"{column}__{comparison}": value})
        equal &= Q(**{column: value})
    return condition


def _typed(value: Any, kind: type) -> Any:
    if kind is dt.datetime:
        moment = dt.datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError("without a time zone")
        return moment.astimezone(dt.UTC)
    if type(value) is not kind:
        raise ValueError("of another type")
    if isinstance(value, int) and abs(value) > _MAX_NUMBER:
        raise ValueError("too large")
    if isinstance(value, str):
        if "\x00" in value:
            raise ValueError("a NUL character")
        value.encode()
    return value


def _no_cursor(field: str) -> PlatformError:
    return invalid(field, "This is no cursor of this connection; take endCursor or startCursor of a page as it is.")
