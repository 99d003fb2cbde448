"""Rows by the million: past the ORM, in one statement a batch on SQLite and by COPY on PostgreSQL."""

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final

from django.core.management.color import no_style
from django.db import connection, transaction
from django.db.models import Max, Model

_BATCH: Final = 50_000


def moment(at: dt.datetime) -> str:
    """A moment (UTC) as both databases read it."""
    return f"{at:%Y-%m-%d %H:%M:%S}"


def next_id(model: type[Model]) -> int:
    """The first number that no row has."""
    return int(model._default_manager.aggregate(most=Max("pk"))["most"] or 0) + 1


def insert(model: type[Model], columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
    """Insert rows of plain values (texts, numbers, booleans, None) and give how many they were."""
    table, names = model._meta.db_table, ", ".join(f'"{name}"' for name in columns)
    count = 0
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with cursor.copy(f'COPY "{table}" ({names}) FROM STDIN') as copy:
                for row in rows:
                    copy.write_row(row)
                    count += 1
        else:
            marks = ", ".join("?" * len(columns))
            raw = cursor.connection.cursor()
            for batch in _batches(rows):
                raw.executemany(f'INSERT INTO "{table}" ({names}) VALUES ({marks})', batch)  # noqa: S608 - names of ours
                count += len(batch)
    return count


def _batches(rows: Iterable[Sequence[Any]]) -> Iterator[list[Sequence[Any]]]:
    given = iter(rows)
    while batch := list(islice(given, _BATCH)):
        yield batch


@contextmanager
def without_indexes(*models: type[Model]) -> Iterator[None]:
    """SQLite fills a table much faster when its indexes are made afterwards; their definitions are kept and run again."""
    if connection.vendor != "sqlite":
        yield
        return
    found: list[tuple[str, str]] = []
    with connection.cursor() as cursor:
        for model in models:
            cursor.execute(
                "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = %s AND sql IS NOT NULL",
                [model._meta.db_table],
            )
            found += cursor.fetchall()
        for name, _ in found:
            cursor.execute(f'DROP INDEX "{name}"')
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            for _, definition in found:
                cursor.execute(definition)


def hurry() -> None:
    """Let SQLite not wait for the disk, and sort large indexes in memory; in this connection, outside a transaction."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA synchronous=OFF")
            cursor.execute("PRAGMA cache_size=-400000")


def finish(*models: type[Model]) -> None:
    """Let sequences go on after the numbers that were given, and let the planner know how much there is."""
    with connection.cursor() as cursor:
        for statement in connection.ops.sequence_reset_sql(no_style(), models):
            cursor.execute(statement)
        cursor.execute("ANALYZE")
