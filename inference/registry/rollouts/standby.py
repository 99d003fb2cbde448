"""The versions that were live within the last day: workers keep them loaded while there is room, for going back is urgent."""

import datetime as dt
from typing import Final

from inference.models import Promotion
from mlplatform.lib import clock
from mlplatform.lib.snapshot import Snapshot

KEPT_FOR: Final = dt.timedelta(days=1)


def _load() -> frozenset[int]:
    """Ids of versions that became live within that time, and of those which they followed."""
    recent = Promotion.objects.filter(at__gte=clock.now() - KEPT_FOR)
    return frozenset(pk for pair in recent.values_list("version_id", "previous_id") for pk in pair if pk is not None)


_recent: Snapshot[frozenset[int]] = Snapshot("models", _load)


def recent() -> frozenset[int]:
    """Ids of the versions that are or were live within the last day, at most half a second old."""
    return _recent.get()


def forget() -> None:
    """Drop what this process holds; for tests."""
    _recent.forget()
