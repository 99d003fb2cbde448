"""What was changed last, for the start page: one line for each request, however many rows it wrote."""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final
from urllib.parse import urlencode

from auditlog.models import LogEntry
from django.urls import reverse
from django.utils.safestring import SafeString

from tenants.admin import audit_log, formats

_SHOWN: Final = 6
_READ: Final = 100
"""Entries that are looked at; a request rarely writes more than a dozen."""


@dataclass(frozen=True, slots=True)
class Change:
    """The row that a request wrote first, and in words what it wrote with it; ``link`` leads to all of that."""

    title: str
    what: str
    by: str
    at: dt.datetime
    link: str
    others: str

    @property
    def age(self) -> SafeString:
        return formats.age(self.at)


def recent_changes() -> list[Change]:
    """The latest requests first."""
    entries = (
        LogEntry.objects.select_related("actor", "content_type")
        .defer("changes", "changes_text", "serialized_data")
        .order_by("-timestamp", "-pk")[:_READ]
    )
    return [_change(list(group)) for _, group in _requests(entries)][:_SHOWN]


def _requests(entries: Iterable[LogEntry]) -> Iterator[tuple[object, Iterator[LogEntry]]]:
    """Neighbours of one request and person; what no request wrote stands alone."""
    return groupby(entries, key=lambda entry: (entry.cid, entry.actor_id) if entry.cid else entry.pk)


def _change(entries: list[LogEntry]) -> Change:
    first, more = entries[-1], entries[:-1]
    page = reverse("admin:auditlog_logentry_changelist")
    one = reverse("admin:auditlog_logentry_change", args=[first.pk])
    return Change(
        title=first.object_repr,
        what=f"{first.content_type.name} {audit_log.done(first)}",
        by=audit_log.author(first),
        at=first.timestamp,
        link=f"{page}?{urlencode({'cid': first.cid})}" if more else one,
        others=_others(more),
    )


def _others(entries: list[LogEntry]) -> str:
    """Such as ``with membership, 2 API keys``, by the names of their kinds."""
    counted = Counter(entry.content_type.name for entry in reversed(entries))
    names = ", ".join(name if n == 1 else f"{n} × {name}" for name, n in counted.items())
    return f"with {names}" if names else ""
