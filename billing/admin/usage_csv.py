"""Daily usage as CSV, sent while it is read."""

import csv
import io
from collections.abc import Iterator
from typing import Final

from django.db.models import QuerySet
from django.http import StreamingHttpResponse

from billing.metering import reports as usage_reports
from billing.models import UsageRollup
from mlplatform.lib import clock

_COLUMNS: Final = (
    "day",
    "tenant",
    "key",
    "key_name",
    "model",
    "api_version",
    "operation",
    "calls",
    "calls_of_model",
    "inputs",
    "cached_inputs",
    "units",
    "saved_units",
)


def answer(rows: QuerySet[UsageRollup]) -> StreamingHttpResponse:
    """All rows, each with ``key_name`` and its tenant at hand."""
    response = StreamingHttpResponse(_csv_lines(rows), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="usage-{clock.now():%Y-%m-%d}.csv"'
    return response


def _csv_lines(rows: QuerySet[UsageRollup]) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(_COLUMNS)
    for row in rows.iterator(chunk_size=1000):
        key_name = row.key_name or ""  # type: ignore[attr-defined]  # annotated by with_key_names
        names = [row.tenant.slug, row.key_uid, key_name, usage_reports.named(row.model), row.api_version, row.operation]
        writer.writerow(
            [
                row.day.isoformat(),
                *map(_harmless, names),
                row.calls,
                row.model_calls,
                row.inputs,
                row.cached_inputs,
                row.units,
                row.saved_units,
            ]
        )
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()


def _harmless(text: str) -> str:
    """Spreadsheets run a cell that begins like a formula, and customers choose the names of their keys."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
